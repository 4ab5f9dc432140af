//! A normalizer that is fed slices of any length, at the speed of vectors.

use crate::backend::{Backend, WithSimd};
use crate::error::Error;
use crate::kernel::{BLOCK, Online};
use crate::normalizer::Normalizer;
use crate::vector::{LANES, Simd};

/// Takes in logits slice by slice, and gives the [`Normalizer`] of all.
///
/// However the logits are cut into slices, the bits are those of
/// [`Softmax::normalizer`](crate::Softmax::normalizer) of all at once on the same backend. A
/// little more than a kilobyte, nothing on the heap.
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
    online: Online,
    pending: [f32; BLOCK],
    pending_len: usize,
}

impl Stream {
    /// An empty stream on the best backend.
    #[must_use]
    pub fn new() -> Self {
        Stream::on(Backend::best())
    }

    /// On a backend that is available.
    pub(crate) fn on(backend: Backend) -> Self {
        Stream {
            backend,
            online: Online::new(),
            pending: [0.0; BLOCK],
            pending_len: 0,
        }
    }

    /// The same stream on `backend`. What was fed before stays.
    ///
    /// # Errors
    ///
    /// [`Error::UnavailableBackend`] if this machine cannot run it.
    pub fn backend(self, backend: Backend) -> Result<Self, Error> {
        backend.require()?;
        Ok(Stream { backend, ..self })
    }

    /// Takes in the next logits.
    pub fn extend(&mut self, logits: &[f32]) {
        let mut unread = logits;
        while !unread.is_empty() {
            let wanted = if self.online.is_new() { LANES } else { BLOCK };
            if self.pending_len == 0 && !self.online.is_new() {
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

    /// The normalizer of all logits so far; more may follow.
    #[must_use]
    pub fn finish(&self) -> Normalizer {
        self.backend.dispatch(Epilogue {
            online: self.online,
            pending: self.pending.get(..self.pending_len).unwrap_or(&[]),
        })
    }

    fn read(&mut self, logits: &[f32]) {
        self.backend.dispatch(Read {
            online: &mut self.online,
            logits,
        });
    }
}

impl Default for Stream {
    /// [`Stream::new`].
    fn default() -> Self {
        Stream::new()
    }
}

struct Read<'a> {
    online: &'a mut Online,
    logits: &'a [f32],
}

impl WithSimd for Read<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.online.read(simd, self.logits);
    }
}

struct Epilogue<'a> {
    online: Online,
    pending: &'a [f32],
}

impl WithSimd for Epilogue<'_> {
    type Output = Normalizer;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> Normalizer {
        if !self.pending.is_empty() {
            self.online.read(simd, self.pending);
        }
        self.online.finish(simd).normalizer()
    }
}
