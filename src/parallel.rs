//! Rows of matrices, slabs of tensors and parts of long rows in parallel, on the threads of rayon. A
//! part is computed as in the whole, so that neither the parts nor the threads change a bit.

extern crate alloc;
extern crate std;

use crate::checks::{self, out_of_place};
use crate::driver::Driver;
use crate::error::Error;
use crate::options::Sink;
use crate::rows::parts::{
    ExtremesOf, LogSoftmaxPart, LogSumExpTotal, LogTotal, NormalizePart, PART, PartExtremes,
    PartSums, Plan, SLICE, SumPart, Total,
};
use crate::softmax::Softmax;
use crate::source::{InPlace, Layout, Source, SrcDst, Unwritten};
use alloc::vec::Vec;
use std::sync::Mutex;

/// The largest matrix, in logits, that is not divided: 12 µs on an AMD EPYC core (family 26). A
/// thread takes longer to wake up.
const SERIAL: usize = 1 << 16;

/// The least number of parts of a matrix that is divided, so that a thread that starts late still
/// finds work, and all threads end at about the same time.
const PARTS: usize = 16;

/// The most logits of a part, unless it is a single row. On one thread parts of this size take at
/// most 2 % more time than the whole, parts of 2^14 at most 3 % (AMD EPYC, family 26).
const LARGEST_PART: usize = 1 << 16;

/// The longest row that is not read in parts: 20 µs on that core. Two passes wait for the threads.
const LONGEST_WHOLE: usize = 1 << 17;

impl<'a> Softmax<'a> {
    /// The same softmax over rows in parallel.
    ///
    /// ```
    /// use online_softmax::Softmax;
    ///
    /// let mut rows = vec![1.0; 1000 * 512];
    /// Softmax::new().parallel().rows_in_place(&mut rows, 512)?;
    /// assert!(rows.iter().all(|probability| *probability == 1.0 / 512.0));
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    #[must_use]
    pub fn parallel(self) -> ParallelSoftmax<'a> {
        ParallelSoftmax { softmax: self }
    }
}

/// A [`Softmax`] over rows in parallel, made by [`Softmax::parallel`].
///
/// Every method has the name, the options, the errors and the special values of the method of
/// [`Softmax`]. The results have the same bits, whatever the number of threads. The arguments are
/// checked before the first write.
///
/// The rows are done on rayon's current thread pool: the one in which the method is called, or the
/// global one. A matrix of at most 2^16 logits is done on one thread. Rows of more than 2^17 logits
/// are read in parts if there are fewer of them than threads, unless masks, a scale or a soft cap are
/// set, or a shift of the exponent must be changed within the row: then a row is done on one thread.
/// The calling thread takes part, whether it is of the pool or not. The others have to wake up, which
/// may take some dozens of microseconds, as the softmax of half a mebibyte does. A call ends when every
/// thread that it asked has looked for work, so it waits for a pool that is busy with something else.
/// For a row in parts a thirty-second of its memory is allocated, and rayon allocates for itself.
///
/// ```
/// use online_softmax::{Mask, Softmax};
///
/// let causal = Softmax::new().mask(Mask::Causal { offset: 0 });
/// let (mut parallel, mut serial) = (vec![0.5; 400 * 400], vec![0.5; 400 * 400]);
/// causal.parallel().rows_in_place(&mut parallel, 400)?;
/// causal.rows_in_place(&mut serial, 400)?;
/// assert_eq!(parallel, serial);
/// # Ok::<(), online_softmax::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ParallelSoftmax<'a> {
    softmax: Softmax<'a>,
}

impl ParallelSoftmax<'_> {
    /// The softmax of each row of a matrix: [`Softmax::rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::rows`].
    ///
    /// ```
    /// let logits = vec![3.0; 300 * 256];
    /// let mut probabilities = vec![0.0; 300 * 256];
    /// online_softmax::Softmax::new().parallel().rows(&logits, 256, &mut probabilities)?;
    /// assert_eq!(probabilities, vec![1.0 / 256.0; 300 * 256]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows(
        &self,
        logits: &[f32],
        columns: usize,
        probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_rows::<false, _>(out_of_place(logits, probabilities)?, columns)
    }

    /// The softmax of each row of a matrix in its place: [`Softmax::rows_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::rows_in_place`].
    ///
    /// ```
    /// let mut rows = vec![3.0; 300 * 256];
    /// online_softmax::Softmax::new().parallel().rows_in_place(&mut rows, 256)?;
    /// assert_eq!(rows, vec![1.0 / 256.0; 300 * 256]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn rows_in_place(&self, rows: &mut [f32], columns: usize) -> Result<(), Error> {
        self.checked_rows::<false, _>(InPlace(rows), columns)
    }

    /// The log-softmax of each row of a matrix: [`Softmax::log_rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_rows`].
    ///
    /// ```
    /// let logits = vec![3.0; 100_000];
    /// let mut log_probabilities = vec![1.0; 100_000];
    /// online_softmax::Softmax::new().parallel().log_rows(&logits, 1, &mut log_probabilities)?;
    /// assert_eq!(log_probabilities, vec![0.0; 100_000]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_rows(
        &self,
        logits: &[f32],
        columns: usize,
        log_probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_rows::<true, _>(out_of_place(logits, log_probabilities)?, columns)
    }

    /// log Σ e^x of each row of a matrix: [`Softmax::log_sum_exp_rows`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_sum_exp_rows`].
    ///
    /// ```
    /// let logits = [3.0, -1e30].repeat(100_000);
    /// let mut out = vec![0.0; 100_000];
    /// online_softmax::Softmax::new().parallel().log_sum_exp_rows(&logits, 2, &mut out)?;
    /// assert_eq!(out, vec![3.0; 100_000]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_sum_exp_rows(
        &self,
        logits: &[f32],
        columns: usize,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let driver = self.softmax.driver;
        let layout = checks::log_sum_exp_rows(&driver.options, logits.len(), columns, out.len())?;
        let stride = layout.stride;
        if are_in_parts(&driver, layout) {
            for (row, out) in logits.chunks(stride).zip(out) {
                if let Some(row) = row.get(..columns) {
                    *out = long_log_sum_exp(&driver, row);
                }
            }
            return Ok(());
        }
        Part::whole((logits, out), layout.rows).in_parallel(
            columns,
            &|(logits, out): (&[f32], &mut [f32]), rows| {
                let Some((logits_of_first, other_logits)) =
                    logits.split_at_checked(rows.saturating_mul(stride))
                else {
                    return Err((logits, out));
                };
                let (out, other_out) = out.split_at_mut(rows);
                Ok(((logits_of_first, out), (other_logits, other_out)))
            },
            &|(logits, out), first| {
                driver.log_sum_exp_rows(logits, layout, first, out);
            },
        );
        Ok(())
    }

    /// The softmax along the middle axis of a tensor [outer, axis, inner]: [`Softmax::axis`]. What
    /// has one outer index is done on one thread, unless `inner` is 1.
    ///
    /// # Errors
    ///
    /// As [`Softmax::axis`].
    ///
    /// ```
    /// let logits = vec![3.0; 100 * 32 * 32];
    /// let mut probabilities = vec![0.0; 100 * 32 * 32];
    /// let softmax = online_softmax::Softmax::new().parallel();
    /// softmax.axis(&logits, [100, 32, 32], &mut probabilities)?;
    /// assert_eq!(probabilities, vec![1.0 / 32.0; 100 * 32 * 32]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn axis(
        &self,
        logits: &[f32],
        shape: [usize; 3],
        probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_axis::<false, _>(out_of_place(logits, probabilities)?, shape)
    }

    /// [`axis`](Self::axis) in the place of the logits: [`Softmax::axis_in_place`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::axis_in_place`].
    ///
    /// ```
    /// let mut data = vec![3.0; 100 * 32 * 32];
    /// let softmax = online_softmax::Softmax::new().parallel();
    /// softmax.axis_in_place(&mut data, [100, 32, 32])?;
    /// assert_eq!(data, vec![1.0 / 32.0; 100 * 32 * 32]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn axis_in_place(&self, data: &mut [f32], shape: [usize; 3]) -> Result<(), Error> {
        self.checked_axis::<false, _>(InPlace(data), shape)
    }

    /// The log-softmax along the middle axis of a tensor, as [`axis`](Self::axis):
    /// [`Softmax::log_axis`].
    ///
    /// # Errors
    ///
    /// As [`Softmax::log_axis`].
    ///
    /// ```
    /// let logits = vec![3.0; 400 * 1 * 256];
    /// let mut log_probabilities = vec![1.0; 400 * 1 * 256];
    /// let softmax = online_softmax::Softmax::new().parallel();
    /// softmax.log_axis(&logits, [400, 1, 256], &mut log_probabilities)?;
    /// assert_eq!(log_probabilities, vec![0.0; 400 * 1 * 256]);
    /// # Ok::<(), online_softmax::Error>(())
    /// ```
    pub fn log_axis(
        &self,
        logits: &[f32],
        shape: [usize; 3],
        log_probabilities: &mut [f32],
    ) -> Result<(), Error> {
        self.checked_axis::<true, _>(out_of_place(logits, log_probabilities)?, shape)
    }

    fn checked_rows<const LOG: bool, R: SrcDst + Send>(
        &self,
        matrix: R,
        columns: usize,
    ) -> Result<(), Error> {
        let driver = self.softmax.driver;
        let layout = checks::rows(&driver.options, matrix.len(), columns)?;
        if are_in_parts(&driver, layout) {
            let mut unread = matrix;
            for _ in 0..layout.rows {
                match unread.split_at(columns) {
                    Ok((row, others)) => {
                        long_row::<LOG, R>(&driver, row);
                        let gap = (layout.stride - columns).min(others.len());
                        match others.split_at(gap) {
                            Ok((_, others)) => unread = others,
                            Err(_) => break,
                        }
                    }
                    Err(_) => break,
                }
            }
        } else if layout.rows > 0 {
            Part::whole(matrix, layout.rows).in_parallel(
                columns,
                &|matrix: R, rows| matrix.split_at(rows.saturating_mul(layout.stride)),
                &|matrix, first| driver.rows::<LOG, R>(matrix, layout, first),
            );
        }
        Ok(())
    }

    fn checked_axis<const LOG: bool, R: SrcDst + Send>(
        &self,
        tensor: R,
        shape: [usize; 3],
    ) -> Result<(), Error> {
        let driver = self.softmax.driver;
        checks::shape(shape, tensor.len())?;
        checks::axis(&driver.options, shape)?;
        let [outer, axis, inner] = shape;
        if inner == 1 {
            return self.checked_rows::<LOG, R>(tensor, axis);
        }
        if tensor.len() > 0 {
            let slab = axis * inner;
            Part::whole(tensor, outer).in_parallel(
                slab,
                &|tensor: R, slabs| tensor.split_at(slabs * slab),
                &|tensor, first| driver.axis::<LOG, R>(tensor, shape, first),
            );
        }
        Ok(())
    }
}

/// Whether rows are read in parts: there are fewer than threads, and they are long.
fn are_in_parts(driver: &Driver<'_>, layout: Layout) -> bool {
    let is_plain = driver.options.allows_whole_matrices();
    layout.columns > LONGEST_WHOLE && is_plain && layout.rows < rayon::current_num_threads()
}

/// The softmax of one row in parts, or the log-softmax if `LOG`.
fn long_row<const LOG: bool, R: SrcDst>(driver: &Driver<'_>, mut row: R) {
    let columns = row.len();
    let sink = driver.options.sink(LOG);
    let sums = if LOG {
        // Without the sink, as the logarithm takes it.
        let mut unwritten = Unwritten(row.logits());
        RowInParts::sum::<true, _>(driver, &mut unwritten, Sink::NONE)
    } else if R::HAS_SCRATCH {
        RowInParts::sum::<false, R>(driver, &mut row, sink)
    } else {
        None
    };
    let Some(RowInParts { plan, mut parts }) = sums else {
        return driver.rows::<LOG, R>(row, Layout::of_row(columns), 0);
    };
    if LOG {
        let total = driver.dispatch(LogTotal {
            logits: row.logits(),
            plan,
            parts: &parts,
            sink,
        });
        each_part(row.reborrow(), &mut parts, &|part, _| {
            driver.dispatch(LogSoftmaxPart { part, total });
        });
    } else {
        let total = driver.dispatch(Total {
            plan,
            parts: &parts,
        });
        each_part(row.reborrow(), &mut parts, &|part, _| {
            driver.dispatch(NormalizePart { part, total });
        });
    }
}

/// log Σ e^x of one row in parts.
fn long_log_sum_exp(driver: &Driver<'_>, logits: &[f32]) -> f32 {
    let sink = driver.options.sink(true);
    RowInParts::sum::<true, _>(driver, &mut Unwritten(logits), Sink::NONE)
        .and_then(|RowInParts { plan, parts }| {
            let parts = &parts;
            driver.dispatch(LogSumExpTotal { plan, parts, sink })
        })
        .unwrap_or_else(|| driver.log_sum_exp(logits))
}

/// A long row of which all numerators were computed.
struct RowInParts {
    plan: Plan,
    parts: Vec<PartSums>,
}

impl RowInParts {
    /// `None` if the row must be read as a whole, or if there is no memory for the sums of its
    /// slices: a thirty-second of that of the row. The logits are as they were then.
    fn sum<const LOG: bool, R: SrcDst>(
        driver: &Driver<'_>,
        row: &mut R,
        sink: Sink,
    ) -> Option<Self> {
        let columns = row.len();
        let first_slice = driver.dispatch(ExtremesOf(row.logits().slice(0, SLICE)?));
        let mut parts = Vec::new();
        parts.try_reserve_exact(columns.div_ceil(PART)).ok()?;
        parts.resize(columns.div_ceil(PART), PartSums::NONE);
        if R::KEEPS_LOGITS {
            let plan = Plan::unit(columns, sink);
            each_part(row.reborrow(), &mut parts, &|part, found| {
                driver.dispatch(SumPart::<LOG, _> { part, plan, found });
            });
        } else {
            each_part(row.reborrow(), &mut parts, &|part, found| {
                found.extremes = driver.dispatch(ExtremesOf(part.logits()));
            });
        }
        let extremes = parts.iter().map(|part| part.extremes);
        let all = extremes.fold(PartExtremes::NONE, PartExtremes::merge);
        let plan = Plan::of(columns, sink, first_slice, all)?;
        if !(R::KEEPS_LOGITS && plan.has_unit_shift) {
            each_part(row.reborrow(), &mut parts, &|part, found| {
                driver.dispatch(SumPart::<LOG, _> { part, plan, found });
            });
        }
        Some(RowInParts { plan, parts })
    }
}

/// Calls `run` with each part of a row and with the value that belongs to it.
fn each_part<R: SrcDst, T: Send>(row: R, values: &mut [T], run: &(impl Fn(R, &mut T) + Sync)) {
    let parts = values.len();
    Part::whole((row, values), parts).divide(
        1,
        &|(row, values): (R, &mut [T]), parts| {
            if parts > values.len() {
                return Err((row, values));
            }
            match row.split_at(parts * PART) {
                Ok((row, others)) => {
                    let (values, other_values) = values.split_at_mut(parts);
                    Ok(((row, values), (others, other_values)))
                }
                Err(row) => Err((row, values)),
            }
        },
        &|(row, values), _| {
            if let [value] = values {
                run(row, value);
            }
        },
    );
}

/// Some rows of a matrix, slabs of a tensor, or parts of a row.
struct Part<T> {
    first: usize,
    rows: usize,
    values: T,
}

impl<T: Send> Part<T> {
    fn whole(values: T, rows: usize) -> Self {
        Part {
            first: 0,
            rows,
            values,
        }
    }

    /// Calls `run` with the whole, if it is small, or else with its parts, and the indices of their
    /// first rows. `split` gives the values of a number of rows, and the others. The parts do not
    /// depend on the number of threads.
    fn in_parallel(
        self,
        columns: usize,
        split: &(impl Fn(T, usize) -> Result<(T, T), T> + Sync),
        run: &(impl Fn(T, usize) + Sync),
    ) {
        let len = self.rows.saturating_mul(columns);
        if len <= SERIAL {
            run(self.values, self.first);
        } else {
            let most = LARGEST_PART.min(len / PARTS).checked_div(columns);
            self.divide(most.unwrap_or(1).max(1), split, run);
        }
    }

    /// The threads take parts of `most` rows, one after another, until none is left. So does the
    /// calling thread, from the start: a thread of the pool may need as long to wake up as a
    /// mebibyte takes.
    fn divide(
        self,
        most: usize,
        split: &(impl Fn(T, usize) -> Result<(T, T), T> + Sync),
        run: &(impl Fn(T, usize) + Sync),
    ) {
        let parts = self.rows.div_ceil(most);
        let helpers = parts.min(rayon::current_num_threads()).saturating_sub(1);
        let left = Mutex::new(Some(self));
        let take_parts = || {
            while let Some(part) = take(&left, most, split) {
                run(part.values, part.first);
            }
        };
        rayon::in_place_scope(|scope| {
            for _ in 0..helpers {
                scope.spawn(|_| take_parts());
            }
            take_parts();
        });
    }

    /// The first `most` rows, if there are more.
    fn split_off(
        self,
        most: usize,
        split: &impl Fn(T, usize) -> Result<(T, T), T>,
    ) -> (Self, Option<Self>) {
        let Part {
            first,
            rows,
            values,
        } = self;
        let part = |first, rows, values| Part {
            first,
            rows,
            values,
        };
        if rows <= most {
            return (part(first, rows, values), None);
        }
        match split(values, most) {
            Ok((values, others)) => (
                part(first, most, values),
                Some(part(first + most, rows - most, others)),
            ),
            Err(values) => (part(first, rows, values), None),
        }
    }
}

/// The next part of what is left.
fn take<T: Send>(
    left: &Mutex<Option<Part<T>>>,
    most: usize,
    split: &impl Fn(T, usize) -> Result<(T, T), T>,
) -> Option<Part<T>> {
    let mut left = left.lock().ok()?;
    let (part, others) = left.take()?.split_off(most, split);
    *left = others;
    Some(part)
}
