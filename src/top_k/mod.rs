//! The most probable classes of a row, and its normalizer, from one read.

use crate::checks;
use crate::error::Error;
use crate::normalizer::Normalizer;
use crate::rows::preprocess::Preprocessed;
use crate::rows::recurrence::RecurrenceState;
use crate::simd::{LANES, Simd, WithSimd};
use crate::softmax::Softmax;
use crate::source::Source;
use candidates::{Candidates, PART};

pub use candidates::Candidate;

mod candidates;

/// The most probable classes of a row on the best backend: [`Softmax::top_k`].
///
/// ```
/// use online_softmax::{Candidate, top_k};
///
/// let mut best = [Candidate::default(); 2];
/// let (normalizer, best) = top_k(&[1.0, 3.0, 2.0, 3.0], &mut best);
/// assert_eq!(best.iter().map(|candidate| candidate.index).collect::<Vec<_>>(), [1, 3]);
/// assert_eq!(best[0].probability, normalizer.probability(3.0));
/// ```
pub fn top_k<'b>(logits: &[f32], best: &'b mut [Candidate]) -> (Normalizer, &'b [Candidate]) {
    Softmax::new().unchecked_top_k(logits, best)
}

impl Softmax<'_> {
    /// The `best.len()` largest logits of a row with their probabilities, in descending order,
    /// equal ones in ascending order of their index; and the normalizer of the row. One read of the
    /// row, which is not sorted.
    ///
    /// There are fewer candidates than `best` has places if the row is shorter. −∞ is a logit as
    /// any other; a masked logit counts as −∞. NaN is never a candidate, but makes every
    /// probability NaN. The logits of the candidates are those after scale, cap and masks.
    ///
    /// # Errors
    ///
    /// None without options; [`Error::MaskMismatch`] or [`Error::LengthBeyondRow`] if a mask does
    /// not fit.
    ///
    /// ```
    /// use online_softmax::{Candidate, Softmax};
    ///
    /// let mut best = [Candidate::default(); 5];
    /// let (_, best) = Softmax::new().top_k(&[0.0, f32::NEG_INFINITY], &mut best)?;
    /// assert_eq!(best.len(), 2);
    /// assert_eq!((best[0].probability, best[1].probability), (1.0, 0.0));
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn top_k<'b>(
        &self,
        logits: &[f32],
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        self.checked_top_k(logits, best)
    }

    pub(crate) fn checked_top_k<'b, L: Source>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> Result<(Normalizer, &'b [Candidate]), Error> {
        checks::masks(&self.driver.options, 1, logits.len(), 1)?;
        Ok(self.unchecked_top_k(logits, best))
    }

    fn unchecked_top_k<'b, L: Source>(
        &self,
        logits: L,
        best: &'b mut [Candidate],
    ) -> (Normalizer, &'b [Candidate]) {
        let driver = &self.driver;
        let mut state = RecurrenceState::new();
        let mut candidates = Candidates::new(best);
        let (seen, preprocessing, columns) = driver.visible_logits(logits);
        if driver.options.changes_logits() {
            driver.dispatch(Read {
                state: &mut state,
                candidates: &mut candidates,
                logits: Preprocessed::new(seen, &preprocessing),
                first: columns.start,
            });
        } else {
            driver.dispatch(Read {
                state: &mut state,
                candidates: &mut candidates,
                logits: seen,
                first: columns.start,
            });
        }
        let mut normalizer = driver.dispatch(MergeAndFinish {
            state: &state,
            candidates: &mut candidates,
        });
        if seen.len() < logits.len() {
            normalizer = Normalizer::FULLY_MASKED.merge(normalizer);
            candidates.insert_masked(0..columns.start);
            candidates.append_masked(columns.end..logits.len());
        }
        let sink = driver.options.sink(false);
        normalizer = sink.merge_into(normalizer);
        (normalizer, candidates.finish(&normalizer, sink))
    }
}

/// The most logits that are read before the first candidates are searched for among them, in the
/// second-level cache. With many logits the bound is tight: few exceed it.
const FIRST: usize = 8 * PART;

/// Reads a row: takes its logits into the state, and searches them for candidates.
struct Read<'a, 'b, L> {
    state: &'a mut RecurrenceState,
    candidates: &'a mut Candidates<'b>,
    logits: L,
    /// The index of the first logit.
    first: usize,
}

impl<L: Source> WithSimd for Read<'_, '_, L> {
    type Output = ();

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) {
        let Read {
            state,
            candidates,
            first,
            ..
        } = self;
        let mut unread = self.logits;
        let mut start = 0;
        while unread.len() > 0 {
            // The recurrence takes the first group of a row by itself.
            let group = if start == 0 { LANES } else { 0 };
            let is_first = !candidates.has_bound();
            let size = if is_first { FIRST } else { PART };
            let (part, others) = unread
                .split_at(group + size)
                .unwrap_or((unread, L::empty()));
            unread = part;
            let mut size = group + PART;
            while unread.len() > 0 {
                let (part, others) = unread.split_at(size).unwrap_or((unread, L::empty()));
                simd.vectorize(
                    #[inline(always)]
                    |simd| state.read(simd, part),
                );
                if is_first {
                    candidates.raise_maxima(simd, part);
                }
                unread = others;
                size = PART;
            }
            simd.vectorize(
                #[inline(always)]
                |simd| candidates.look_through(simd, part, first + start),
            );
            start += part.len();
            unread = others;
        }
    }
}

/// Merges the last candidates and finishes the state.
struct MergeAndFinish<'a, 'b> {
    state: &'a RecurrenceState,
    candidates: &'a mut Candidates<'b>,
}

impl WithSimd for MergeAndFinish<'_, '_> {
    type Output = Normalizer;

    #[cfg_attr(not(unoptimized), inline(always))]
    fn with_simd<S: Simd>(self, simd: S) -> Normalizer {
        self.candidates.merge(simd);
        self.state.finish(simd).normalizer()
    }
}
