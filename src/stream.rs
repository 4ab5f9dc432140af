//! A normalizer of slices of any length, at the speed of vectors.

use crate::backend::Backend;
use crate::checks;
use crate::dispatch::dispatch;
use crate::error::Error;
use crate::normalizer::Normalizer;
use crate::rows::recurrence::{Extend, FinishWith, RecurrenceState};
use crate::rows::schedule::BLOCK;
use crate::simd::LANES;

/// Takes in the logits of a row slice by slice, and gives the [`Normalizer`] of all.
///
/// The bits are those of [`Softmax::normalizer`](crate::Softmax::normalizer) of all logits at once
/// on the same backend, however the logits are cut into slices. A `Stream` is a little larger than
/// a kilobyte and does not allocate.
///
/// ```
/// use online_softmax::{Softmax, Stream};
///
/// let logits: [f32; 100] = core::array::from_fn(|i| (i as f32).sin());
/// let mut stream = Stream::new();
/// for slice in logits.chunks(7) {
///     stream.extend(slice);
/// }
/// assert_eq!(stream.finish(), Softmax::new().normalizer(&logits)?);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    backend: Backend,
    state: RecurrenceState,
    /// Logits that do not fill a block yet.
    pending: [f32; BLOCK],
    pending_len: usize,
}

impl Stream {
    /// An empty stream on the best backend.
    #[must_use]
    pub fn new() -> Self {
        Stream {
            backend: Backend::best(),
            state: RecurrenceState::new(),
            pending: [0.0; BLOCK],
            pending_len: 0,
        }
    }

    /// The same stream on `backend`. It keeps the logits that it has taken in.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    pub fn backend(self, backend: Backend) -> Result<Self, Error> {
        checks::backend(backend)?;
        Ok(Stream { backend, ..self })
    }

    /// Takes in the next logits.
    pub fn extend(&mut self, logits: &[f32]) {
        let mut unread = logits;
        while !unread.is_empty() {
            let wanted = if self.state.is_new() { LANES } else { BLOCK };
            if self.pending_len == 0 && !self.state.is_new() {
                let (blocks, others) = unread.split_at(unread.len() - unread.len() % BLOCK);
                self.read(blocks);
                unread = others;
            }
            let taken = unread.len().min(wanted - self.pending_len);
            let (next, others) = unread.split_at(taken);
            for (place, logit) in self.pending.iter_mut().skip(self.pending_len).zip(next) {
                *place = *logit;
            }
            self.pending_len += taken;
            unread = others;
            if self.pending_len == wanted {
                let block = self.pending;
                self.pending_len = 0;
                self.read(block.get(..wanted).unwrap_or(&[]));
            }
        }
    }

    /// The normalizer of all logits so far. More may follow.
    #[must_use]
    pub fn finish(&self) -> Normalizer {
        let last = self.pending.get(..self.pending_len).unwrap_or(&[]);
        let state = &self.state;
        dispatch(self.backend, FinishWith { state, last })
    }

    fn read(&mut self, logits: &[f32]) {
        let state = &mut self.state;
        dispatch(self.backend, Extend { state, logits });
    }
}

impl Default for Stream {
    /// [`Stream::new`].
    fn default() -> Self {
        Stream::new()
    }
}
