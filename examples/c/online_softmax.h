/* Softmax, log-softmax, log-sum-exp and top-k of `float` rows. No function allocates or keeps a pointer.
 *
 * A pointer may be null only if its length is 0. Results may be written in the place of the logits: then
 * both pointers are equal. Other overlaps are refused. After an error nothing has been written. */

#ifndef ONLINE_SOFTMAX_H
#define ONLINE_SOFTMAX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ONLINE_SOFTMAX_OK = 0,
    ONLINE_SOFTMAX_NULL = 1,      /* a null pointer with a length */
    ONLINE_SOFTMAX_OVERLAP = 2,   /* memory that is read and written, but not in place */
    ONLINE_SOFTMAX_ALIGNMENT = 3, /* a pointer that is not aligned to its type */
    ONLINE_SOFTMAX_LENGTH = 4     /* more bytes than half of the address space, or a k above the limit */
};

#define ONLINE_SOFTMAX_MAX_K 64

typedef struct {
    size_t index;
    float logit;
    float probability;
} online_softmax_candidate;

int32_t online_softmax(const float *logits, float *probabilities, size_t len);

int32_t online_log_softmax(const float *logits, float *log_probabilities, size_t len);

/* *result is -infinity if len is 0. */
int32_t online_log_sum_exp(const float *logits, size_t len, float *result);

/* The k largest logits, in descending order; of equal ones the first comes first. *found is the number of
 * candidates written, at most k and len. NaN is none. k is at most ONLINE_SOFTMAX_MAX_K. */
int32_t online_softmax_top_k(const float *logits, size_t len, online_softmax_candidate *best, size_t k,
                             size_t *found);

#ifdef __cplusplus
}
#endif

#endif
