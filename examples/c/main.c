/* Calls each function, also wrongly. Exits with 0 if all is as it should be. */

#include "online_softmax.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

static void check(int is_right, const char *what) {
    if (!is_right) {
        printf("wrong: %s\n", what);
        failures++;
    }
}

static int near(float a, float b) { return fabsf(a - b) <= 1e-6f * fabsf(b); }

int main(void) {
    const float logits[4] = {1, 2, 3, -INFINITY};
    float results[4], row[5] = {1, 2, 3, -INFINITY, 7}, sum;

    check(online_softmax(logits, results, 4) == ONLINE_SOFTMAX_OK, "softmax");
    printf("softmax %.7f %.7f %.7f %.7f\n", results[0], results[1], results[2], results[3]);
    check(near(results[0], 0.09003057f) && near(results[2], 0.66524096f), "probabilities");
    check(results[3] == 0, "the probability of -infinity");
    check(online_softmax(row, row, 4) == ONLINE_SOFTMAX_OK, "softmax in place");
    check(memcmp(row, results, sizeof results) == 0 && row[4] == 7, "the same in place");

    check(online_log_softmax(logits, results, 4) == ONLINE_SOFTMAX_OK, "log-softmax");
    check(near(results[2], -0.40760596f) && results[3] == -INFINITY, "log-probabilities");

    check(online_log_sum_exp(logits, 4, &sum) == ONLINE_SOFTMAX_OK, "log-sum-exp");
    check(near(sum, 3.4076059f), "the log-sum-exp");
    check(online_log_sum_exp(NULL, 0, &sum) == ONLINE_SOFTMAX_OK && sum == -INFINITY, "no logits");

    online_softmax_candidate best[2];
    size_t found = 0;
    check(online_softmax_top_k(logits, 4, best, 2, &found) == ONLINE_SOFTMAX_OK, "top-k");
    check(found == 2 && best[0].index == 2 && best[1].index == 1, "the candidates");
    check(best[0].logit == 3 && near(best[0].probability, 0.66524096f), "the best candidate");

    /* What is refused writes nothing. */
    memcpy(row, logits, sizeof logits);
    check(online_softmax(NULL, results, 4) == ONLINE_SOFTMAX_NULL, "null logits");
    check(online_softmax(logits, NULL, 4) == ONLINE_SOFTMAX_NULL, "null results");
    check(online_softmax(NULL, NULL, 0) == ONLINE_SOFTMAX_OK, "null and no length");
    check(online_softmax(row, row + 1, 4) == ONLINE_SOFTMAX_OVERLAP, "overlap");
    check(online_log_softmax(row + 1, row, 4) == ONLINE_SOFTMAX_OVERLAP, "overlap");
    check(online_log_sum_exp(row, 4, row + 3) == ONLINE_SOFTMAX_OVERLAP, "overlap");
    check(online_softmax((const float *)((const char *)row + 1), results, 1) == ONLINE_SOFTMAX_ALIGNMENT,
          "alignment");
    check(online_softmax(logits, results, SIZE_MAX / 2) == ONLINE_SOFTMAX_LENGTH, "length");
    check(online_softmax_top_k(logits, 4, best, ONLINE_SOFTMAX_MAX_K + 1, &found) == ONLINE_SOFTMAX_LENGTH, "k");
    check(memcmp(row, logits, sizeof logits) == 0, "nothing written");

    if (failures == 0) {
        puts("all is right");
    }
    return failures != 0;
}
