//! How much stack each public call needs: at most 64 KiB in a build with debug assertions, whether
//! optimised or not, and 8 KiB in a release build, on every backend. A thread of an embedded system
//! has little more.
//!
//! The compiler tells a test whether there are debug assertions but not how far the code was
//! optimised, so the larger bound holds for all that is no release build. It is meant for an
//! unoptimised one, which needs the most by far:
//!
//! ```sh
//! CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_TEST_OPT_LEVEL=0 cargo test --test suite stack::
//! cargo test --release --test suite stack::
//! ```
//!
//! With `-- stack:: --nocapture` it prints a table of functions and backends.
//!
//! The switch of stacks is written for two architectures, and the red zone, the pages of the system's
//! stack and the calling convention are those of Linux.
//!
//! Each call runs on a stack of the test's own, which was painted with a pattern before. How far
//! the pattern is gone is what the call needs, to a word. The buffer is ordinary memory for the
//! test, so that it may be read.

use core::arch::asm;
use core::ffi::c_void;
use core::hint::black_box;
use online_softmax::{
    Backend, Candidate, CrossEntropy, FullyMasked, Mask, Normalizer, Sampler, Softmax, Stream,
};
use std::fmt::Write;
use support::{THOROUGH, backends};

/// The most that a call may need, in bytes.
const BOUND: usize = if cfg!(debug_assertions) {
    64 * 1024
} else {
    8 * 1024
};

const PATTERN: u64 = 0x5AFE_57AC_C0DE_D00D;
const PAGE: [u64; 512] = [PATTERN; 512];

/// A painted stack.
struct Meter {
    stack: Vec<u64>,
}

impl Meter {
    const PAGES: usize = 1024;
    /// Several times what an unoptimised call was ever seen to need, and far from the end.
    const LIMIT: usize = Self::PAGES * size_of_val(&PAGE) * 7 / 8;

    fn new() -> Self {
        Meter {
            stack: PAGE.repeat(Self::PAGES),
        }
    }

    /// How many bytes of stack `call` needs. A panic within ends the test process.
    fn bytes<F: FnMut()>(&mut self, mut call: F) -> usize {
        extern "C" fn run<F: FnMut()>(call: *mut c_void) {
            // SAFETY: `bytes` passes a pointer to its `call`, which nothing else refers to meanwhile.
            unsafe { (*call.cast::<F>())() }
        }

        self.paint();
        let stack = self.stack.as_mut_ptr_range();
        let top = stack.end.map_addr(|address| address & !15).cast::<c_void>();
        // SAFETY: the stack ends at an aligned address within `self.stack`, and `run::<F>` is given
        // a pointer to an `F`. A call that comes near the other end is found below.
        unsafe { call_on(top, run::<F>, (&raw mut call).cast()) };
        // The compiler must take it that the stack was written to.
        black_box(self.stack.as_mut_slice());
        let bytes = (self.stack.len() - self.painted_words()) * size_of::<u64>();
        assert!(bytes < Self::LIMIT, "the painted stack is too small");
        bytes
    }

    /// How many words from the far end on nothing was written to.
    fn painted_words(&self) -> usize {
        let pages = self.stack.chunks(PAGE.len());
        let start = pages.take_while(|page| *page == PAGE).count() * PAGE.len();
        let words = self.stack[start..].iter();
        start + words.take_while(|word| **word == PATTERN).count()
    }

    /// Paints over what was written.
    fn paint(&mut self) {
        let start = self.painted_words() / PAGE.len() * PAGE.len();
        for page in self.stack[start..].chunks_mut(PAGE.len()) {
            page.copy_from_slice(&PAGE);
        }
    }
}

/// Calls `function(argument)` on the stack that ends at `top`.
///
/// # Safety
///
/// `top` must be the aligned end of a large enough buffer, and `function` must not unwind.
unsafe fn call_on(top: *mut c_void, function: extern "C" fn(*mut c_void), argument: *mut c_void) {
    // SAFETY: the register that keeps the old stack pointer is one that `function` preserves, every
    // other register that it may change is declared to be changed, and the old stack pointer is
    // back at the end.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "xchg rsp, r12",
            "call {function}",
            "mov rsp, r12",
            function = in(reg) function,
            in("rdi") argument,
            inout("r12") top => _,
            clobber_abi("C"),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "mov x21, sp",
            "mov sp, {top}",
            "blr {function}",
            "mov sp, x21",
            top = in(reg) top,
            function = in(reg) function,
            in("x0") argument,
            out("x21") _,
            clobber_abi("C"),
        );
    }
}

/// The most that each function needs on each backend, and for which arguments.
#[derive(Default)]
struct Table {
    backends: Vec<Backend>,
    rows: Vec<Row>,
}

struct Row {
    function: String,
    /// One for each backend; none where the function was not called.
    worst: Vec<Option<(usize, String)>>,
}

impl Table {
    fn record(&mut self, function: &str, backend: Backend, arguments: &str, bytes: usize) {
        let is_same = |other: &Backend| *other == backend;
        let column = self.backends.iter().position(is_same).unwrap_or_else(|| {
            self.backends.push(backend);
            self.backends.len() - 1
        });
        let is_same = |row: &Row| row.function == function;
        let row = self.rows.iter().position(is_same).unwrap_or_else(|| {
            self.rows.push(Row {
                function: function.to_owned(),
                worst: Vec::new(),
            });
            self.rows.len() - 1
        });
        let worst = &mut self.rows[row].worst;
        worst.resize(worst.len().max(column + 1), None);
        if worst[column].as_ref().is_none_or(|(most, _)| *most < bytes) {
            worst[column] = Some((bytes, arguments.to_owned()));
        }
    }

    fn markdown(&self) -> String {
        let mut text = String::from("| bytes of stack, at most |");
        for backend in &self.backends {
            write!(text, " {} |", backend.name()).unwrap();
        }
        text.push_str("\n|---|");
        text.push_str(&"---:|".repeat(self.backends.len()));
        for row in &self.rows {
            write!(text, "\n| {} |", row.function).unwrap();
            for column in 0..self.backends.len() {
                match row.worst.get(column) {
                    Some(Some((bytes, _))) => write!(text, " {bytes} |").unwrap(),
                    _ => text.push_str(" |"),
                }
            }
        }
        text.push('\n');
        text
    }

    /// A line for each function and backend that needs more than `bound`.
    fn beyond(&self, bound: usize) -> String {
        let mut text = String::new();
        for row in &self.rows {
            for (backend, worst) in self.backends.iter().zip(&row.worst) {
                if let Some((bytes, arguments)) = worst
                    && *bytes > bound
                {
                    let (function, name) = (&row.function, backend.name());
                    writeln!(text, "{function}, {name}, {arguments}: {bytes} bytes").unwrap();
                }
            }
        }
        text
    }
}

/// The measurements on one backend.
struct Run<'a> {
    meter: Meter,
    table: &'a mut Table,
    backend: Backend,
}

impl Run<'_> {
    fn call(&mut self, function: &str, arguments: &str, call: impl FnMut()) {
        let bytes = self.meter.bytes(call);
        self.table.record(function, self.backend, arguments, bytes);
    }

    fn softmax(&self) -> Softmax<'static> {
        Softmax::new().backend(self.backend).unwrap()
    }
}

/// Row lengths: less than a vector, some blocks, and beyond each threshold between algorithms.
const LENGTHS: [usize; 5] = [10, 1000, 5000, 40_000, 70_000];

/// Rows and columns: full groups of rows and some left over, and rows by themselves.
const MATRICES: [(usize, usize); 5] = [(37, 10), (13, 100), (7, 1000), (5, 5000), (2, 40_000)];

/// Beyond the caches. Only in release builds: unoptimised ones take long.
const LARGE_MATRICES: [(usize, usize); 3] = [(4200, 1000), (2800, 1500), (1, (1 << 21) + 77)];

/// [outer, axis, inner]: less than a vector, a vector, a tile, and several tiles, with short and
/// long axes.
const SHAPES: [[usize; 3]; 7] = [
    [2, 10, 1],
    [2, 64, 2],
    [2, 64, 32],
    [2, 64, 64],
    [2, 64, 1000],
    [1, 5000, 2],
    [1, 5000, 33],
];

fn logits(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7 % 31) as f32 * 0.5 - 7.0).collect()
}

/// A set of options, by name.
struct Setting<'a> {
    name: &'static str,
    softmax: Softmax<'a>,
}

/// What masks of a matrix are made of.
struct Masks {
    keep: Vec<bool>,
    additive: Vec<f32>,
}

impl Masks {
    fn new(len: usize) -> Self {
        Masks {
            keep: (0..len).map(|i| i % 3 != 1).collect(),
            additive: (0..len).map(|i| -((i % 5) as f32)).collect(),
        }
    }

    /// Each option by itself, and all of them together.
    fn settings(&self, plain: Softmax<'static>, columns: usize) -> Vec<Setting<'_>> {
        let length = columns - columns / 4;
        let causal = Mask::Causal { offset: 1 };
        let all_but_cap = plain
            .scale(0.5)
            .mask(Mask::Keep(&self.keep))
            .mask(Mask::Additive(&self.additive))
            .mask(Mask::Length(length))
            .sink(1.0)
            .fully_masked(FullyMasked::Zero);
        let setting = |name, softmax| Setting { name, softmax };
        vec![
            setting("scale", plain.scale(0.5)),
            setting("soft cap", plain.soft_cap(5.0)),
            setting("keep mask", plain.mask(Mask::Keep(&self.keep))),
            setting("additive mask", plain.mask(Mask::Additive(&self.additive))),
            setting("length", plain.mask(Mask::Length(length))),
            setting("causal mask", plain.mask(causal)),
            setting("sink", plain.sink(1.0)),
            setting("sink of +∞", plain.sink(f32::INFINITY)),
            setting("fully masked", plain.fully_masked(FullyMasked::Zero)),
            setting("all but cap and causal", all_but_cap),
            setting("all", all_but_cap.soft_cap(5.0).mask(causal)),
        ]
    }
}

fn rows(run: &mut Run<'_>) {
    let softmax = run.softmax();
    for len in LENGTHS {
        let logits = logits(len);
        let mut results = vec![0.0; len];
        let arguments = &format!("{len} logits");
        run.call("`row`", arguments, || {
            softmax.row(&logits, &mut results).unwrap();
        });
        run.call("`row_in_place`", arguments, || {
            softmax.row_in_place(&mut results).unwrap();
        });
        run.call("`log_row`", arguments, || {
            softmax.log_row(&logits, &mut results).unwrap();
        });
        run.call("`log_row_in_place`", arguments, || {
            softmax.log_row_in_place(&mut results).unwrap();
        });
        run.call("`normalizer`", arguments, || {
            black_box(softmax.normalizer(&logits).unwrap());
        });
        run.call("`log_sum_exp`", arguments, || {
            black_box(softmax.log_sum_exp(&logits).unwrap());
        });
        let backend = run.backend;
        run.call("`Backend::exp`", arguments, || {
            backend.exp(&logits, &mut results).unwrap();
        });
        run.call("`Stream`", arguments, || {
            let mut stream = Stream::new().backend(backend).unwrap();
            for part in logits.chunks(len / 2 + 3) {
                stream.extend(part);
            }
            black_box(stream.finish());
        });
    }
}

fn matrices(run: &mut Run<'_>) {
    let softmax = run.softmax();
    let large = if THOROUGH { &LARGE_MATRICES[..] } else { &[] };
    for &(rows, columns) in MATRICES.iter().chain(large) {
        let logits = logits(rows * columns);
        let mut results = vec![0.0; logits.len()];
        let mut sums = vec![0.0; rows];
        let arguments = &format!("{rows} × {columns}");
        run.call("`rows`", arguments, || {
            softmax.rows(&logits, columns, &mut results).unwrap();
        });
        run.call("`rows_in_place`", arguments, || {
            softmax.rows_in_place(&mut results, columns).unwrap();
        });
        run.call("`log_rows`", arguments, || {
            softmax.log_rows(&logits, columns, &mut results).unwrap();
        });
        let causal = softmax.mask(Mask::Causal { offset: 1 });
        run.call("`rows`, an option", arguments, || {
            causal.rows(&logits, columns, &mut results).unwrap();
        });
        run.call("`log_rows`, an option", arguments, || {
            causal.log_rows(&logits, columns, &mut results).unwrap();
        });
        run.call("`log_sum_exp_rows`", arguments, || {
            softmax
                .log_sum_exp_rows(&logits, columns, &mut sums)
                .unwrap();
        });
    }
}

fn axes(run: &mut Run<'_>) {
    let softmax = run.softmax();
    for shape in SHAPES {
        let [outer, axis, inner] = shape;
        let logits = logits(outer * axis * inner);
        let mut results = vec![0.0; logits.len()];
        let arguments = &format!("{shape:?}");
        run.call("`axis`", arguments, || {
            softmax.axis(&logits, shape, &mut results).unwrap();
        });
        run.call("`axis_in_place`", arguments, || {
            softmax.axis_in_place(&mut results, shape).unwrap();
        });
        run.call("`log_axis`", arguments, || {
            softmax.log_axis(&logits, shape, &mut results).unwrap();
        });
        let places = shape[0] * shape[2];
        run.call("`log_sum_exp_axis`", arguments, || {
            softmax
                .log_sum_exp_axis(&logits, shape, &mut results[..places])
                .unwrap();
        });
        let masks = Masks::new(axis * inner);
        for Setting { name, softmax } in masks.settings(run.softmax(), axis) {
            // The masks that no inner axis takes.
            if softmax.axis(&logits, shape, &mut results).is_ok() {
                let arguments = &format!("{name}, {shape:?}");
                run.call("`axis`, an option", arguments, || {
                    softmax.axis(&logits, shape, &mut results).unwrap();
                });
            }
        }
    }
}

fn operations(run: &mut Run<'_>) {
    let softmax = run.softmax();
    for len in LENGTHS {
        let logits = logits(len);
        let upstream = vec![0.5; len];
        let mut probabilities = vec![0.0; len];
        let mut results = vec![0.0; len];
        softmax.row(&logits, &mut probabilities).unwrap();
        let arguments = &format!("{len} logits");
        for k in [5, 50] {
            let mut best = vec![Candidate::default(); k];
            run.call(&format!("`top_k`, k = {k}"), arguments, || {
                black_box(softmax.top_k(&logits, &mut best).unwrap());
            });
        }
        let sampler = Sampler::new().backend(run.backend).unwrap();
        let sampler = sampler.temperature(0.7).top_k(50).top_p(0.9).min_p(0.1);
        run.call("`Sampler::draw`", arguments, || {
            black_box(sampler.draw(&logits, 0.5).unwrap());
        });
        run.call("`Sampler::kept`", arguments, || {
            black_box(sampler.kept(&logits));
        });
        run.call("`cross_entropy`", arguments, || {
            black_box(softmax.cross_entropy(&logits, 3).unwrap());
        });
        run.call("`cross_entropy_gradient`", arguments, || {
            let loss = softmax.cross_entropy_gradient(&logits, 3, &mut results);
            black_box(loss.unwrap());
        });
        run.call("`cross_entropy_gradient_in_place`", arguments, || {
            let loss = softmax.cross_entropy_gradient_in_place(&mut results, 3);
            black_box(loss.unwrap());
        });
        for (rows, columns) in [(len, 1), (len / 10, 10), (len / 100, 100), (1, len)] {
            losses(run, &softmax, &logits[..rows * columns], columns);
        }
        run.call("`softmax_gradient_rows_in_place`", arguments, || {
            softmax
                .softmax_gradient_rows_in_place(&probabilities, len.max(1), &mut results)
                .unwrap();
        });
        run.call("`log_softmax_gradient_in_place`", arguments, || {
            softmax
                .log_softmax_gradient_in_place(&probabilities, &mut results)
                .unwrap();
        });
        run.call("`softmax_gradient`", arguments, || {
            softmax
                .softmax_gradient(&probabilities, &upstream, &mut results)
                .unwrap();
        });
        run.call("`log_softmax_gradient`", arguments, || {
            softmax
                .log_softmax_gradient(&probabilities, &upstream, &mut results)
                .unwrap();
        });
    }
}

fn options(run: &mut Run<'_>) {
    for (rows, columns) in [(37, 10), (7, 1000), (1, 40_000)] {
        let logits = logits(rows * columns);
        let row = &logits[..columns];
        let mut results = vec![0.0; logits.len()];
        let mut sums = vec![0.0; rows];
        let mut best = [Candidate::default(); 5];
        let masks = Masks::new(columns);
        for Setting { name, softmax } in masks.settings(run.softmax(), columns) {
            let arguments = &format!("{name}, {rows} × {columns}");
            run.call("`row`, an option", arguments, || {
                softmax.row(row, &mut results[..columns]).unwrap();
            });
            run.call("`log_row_in_place`, an option", arguments, || {
                softmax.log_row_in_place(&mut results[..columns]).unwrap();
            });
            run.call("`rows`, an option", arguments, || {
                softmax.rows(&logits, columns, &mut results).unwrap();
            });
            run.call("`log_rows`, an option", arguments, || {
                softmax.log_rows(&logits, columns, &mut results).unwrap();
            });
            run.call("`log_sum_exp_rows`, an option", arguments, || {
                softmax
                    .log_sum_exp_rows(&logits, columns, &mut sums)
                    .unwrap();
            });
            run.call("`top_k`, an option", arguments, || {
                black_box(softmax.top_k(row, &mut best).unwrap());
            });
            if columns <= 1000 {
                losses(run, &softmax, &logits, columns);
            }
            if softmax.cross_entropy(row, 0).is_ok() {
                run.call("`cross_entropy`, an option", arguments, || {
                    black_box(softmax.cross_entropy(row, 0).unwrap());
                });
            }
        }
    }
}

/// Losses of a matrix and their gradients.
fn losses(run: &mut Run<'_>, softmax: &Softmax<'_>, logits: &[f32], columns: usize) {
    let rows = logits.len().checked_div(columns).unwrap_or(0);
    let arguments = &format!("{rows} × {columns}");
    let loss = CrossEntropy::new().softmax(*softmax);
    let targets = vec![0; rows];
    let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; logits.len()]);
    for loss in [loss, loss.label_smoothing(0.1)] {
        run.call("`CrossEntropy::rows`", arguments, || {
            loss.rows(logits, columns, &targets, &mut losses).unwrap();
        });
        run.call("`CrossEntropy::mean`", arguments, || {
            black_box(loss.mean(logits, columns, &targets).unwrap());
        });
        run.call("`CrossEntropy::gradient`", arguments, || {
            let mean = loss.gradient(logits, columns, &targets, &mut gradient);
            // A cap is refused.
            let _ = black_box(mean);
        });
        run.call("`CrossEntropy::soft_gradient_in_place`", arguments, || {
            let mean = loss.soft_gradient_in_place(&mut gradient, columns, logits);
            let _ = black_box(mean);
        });
    }
}

/// What has no choice of a backend: it runs on the best, or on none.
fn free_functions(run: &mut Run<'_>) {
    for len in LENGTHS {
        let logits = logits(len);
        let upstream = vec![0.5; len];
        let mut results = vec![0.0; len];
        let mut best = [Candidate::default(); 5];
        let arguments = &format!("{len} logits");
        run.call("`softmax`", arguments, || {
            online_softmax::softmax(&logits, &mut results).unwrap();
        });
        run.call("`softmax_in_place`", arguments, || {
            online_softmax::softmax_in_place(&mut results);
        });
        run.call("`log_softmax`", arguments, || {
            online_softmax::log_softmax(&logits, &mut results).unwrap();
        });
        run.call("`log_softmax_in_place`", arguments, || {
            online_softmax::log_softmax_in_place(&mut results);
        });
        run.call("`log_sum_exp`, free", arguments, || {
            black_box(online_softmax::log_sum_exp(&logits));
        });
        run.call("`top_k`, free", arguments, || {
            black_box(online_softmax::top_k(&logits, &mut best));
        });
        run.call("`cross_entropy`, free", arguments, || {
            black_box(online_softmax::cross_entropy(&logits, 3).unwrap());
        });
        run.call("`cross_entropy_gradient`, free", arguments, || {
            let loss = online_softmax::cross_entropy_gradient(&logits, 3, &mut results);
            black_box(loss.unwrap());
        });
        run.call("`softmax_gradient`, free", arguments, || {
            online_softmax::softmax_gradient(&logits, &upstream, &mut results).unwrap();
        });
        run.call("`log_softmax_gradient`, free", arguments, || {
            online_softmax::log_softmax_gradient(&logits, &upstream, &mut results).unwrap();
        });
        run.call("`reference::three_loop`", arguments, || {
            online_softmax::reference::three_loop(&logits, &mut results);
        });
        run.call("`reference::online`", arguments, || {
            online_softmax::reference::online(&logits, &mut results);
        });
        run.call("`Normalizer`", arguments, || {
            let mut normalizer: Normalizer = logits.iter().copied().collect();
            normalizer.push(1.0);
            let normalizer = normalizer.merge(normalizer);
            black_box(normalizer.log_sum_exp() + normalizer.denominator());
            black_box(normalizer.probability(1.0) + normalizer.log_probability(1.0));
        });
        run.call("`Backend::available`", arguments, || {
            assert!(Backend::available().any(|backend| backend == Backend::best()));
        });
    }
}

/// Logits of half precision.
#[cfg(feature = "half")]
mod halves {
    use super::{MATRICES, Masks, Run, Setting, logits};
    use half::{bf16, f16};
    use online_softmax::{Candidate, Logit, Probability};
    use std::hint::black_box;

    pub(super) fn run(run: &mut Run<'_>) {
        measure(run, "bf16", bf16::from_f32);
        measure(run, "f16", f16::from_f32);
    }

    fn measure<L>(run: &mut Run<'_>, name: &str, from_f32: fn(f32) -> L)
    where
        L: Logit + Probability<L> + Copy,
        f32: Probability<L>,
    {
        let softmax = run.softmax().of::<L>();
        for (rows, columns) in MATRICES {
            let wide = logits(rows * columns);
            let logits: Vec<L> = wide.into_iter().map(from_f32).collect();
            let mut to_f32 = vec![0.0_f32; logits.len()];
            let mut to_half = logits.clone();
            let mut sums = vec![0.0; rows];
            let mut best = [Candidate::default(); 5];
            let row = &logits[..columns];
            let shape = [1, rows, columns];
            let arguments = &format!("{rows} × {columns}");
            let function = |function: &str| format!("`{function}`, {name}");
            let function_to_f32 = |function: &str| format!("`{function}`, {name} to f32");

            run.call(&function_to_f32("row"), arguments, || {
                softmax.row(row, &mut to_f32[..columns]).unwrap();
            });
            run.call(&function("row"), arguments, || {
                softmax.row(row, &mut to_half[..columns]).unwrap();
            });
            run.call(&function_to_f32("log_row"), arguments, || {
                softmax.log_row(row, &mut to_f32[..columns]).unwrap();
            });
            run.call(&function("log_row"), arguments, || {
                softmax.log_row(row, &mut to_half[..columns]).unwrap();
            });
            run.call(&function_to_f32("rows"), arguments, || {
                softmax.rows(&logits, columns, &mut to_f32).unwrap();
            });
            run.call(&function("rows"), arguments, || {
                softmax.rows(&logits, columns, &mut to_half).unwrap();
            });
            run.call(&function_to_f32("log_rows"), arguments, || {
                softmax.log_rows(&logits, columns, &mut to_f32).unwrap();
            });
            run.call(&function("log_rows"), arguments, || {
                softmax.log_rows(&logits, columns, &mut to_half).unwrap();
            });
            run.call(&function_to_f32("axis"), arguments, || {
                softmax.axis(&logits, shape, &mut to_f32).unwrap();
            });
            run.call(&function("axis"), arguments, || {
                softmax.axis(&logits, shape, &mut to_half).unwrap();
            });
            run.call(&function_to_f32("log_axis"), arguments, || {
                softmax.log_axis(&logits, shape, &mut to_f32).unwrap();
            });
            run.call(&function("log_axis"), arguments, || {
                softmax.log_axis(&logits, shape, &mut to_half).unwrap();
            });
            run.call(&function("row_in_place"), arguments, || {
                softmax.row_in_place(&mut to_half[..columns]).unwrap();
            });
            run.call(&function("log_row_in_place"), arguments, || {
                softmax.log_row_in_place(&mut to_half[..columns]).unwrap();
            });
            run.call(&function("rows_in_place"), arguments, || {
                softmax.rows_in_place(&mut to_half, columns).unwrap();
            });
            run.call(&function("axis_in_place"), arguments, || {
                softmax.axis_in_place(&mut to_half, shape).unwrap();
            });
            run.call(&function("log_sum_exp_rows"), arguments, || {
                softmax
                    .log_sum_exp_rows(&logits, columns, &mut sums)
                    .unwrap();
            });
            run.call(&function("normalizer"), arguments, || {
                black_box(softmax.normalizer(row).unwrap());
            });
            run.call(&function("log_sum_exp"), arguments, || {
                black_box(softmax.log_sum_exp(row).unwrap());
            });
            run.call(&function("top_k"), arguments, || {
                black_box(softmax.top_k(row, &mut best).unwrap());
            });
            run.call(&function("cross_entropy"), arguments, || {
                black_box(softmax.cross_entropy(row, 3).unwrap());
            });

            let masks = Masks::new(columns);
            for Setting { name, softmax } in masks.settings(run.softmax(), columns) {
                let softmax = softmax.of::<L>();
                let arguments = &format!("{name}, {rows} × {columns}");
                let option = |function: String| function + ", an option";
                run.call(&option(function_to_f32("rows")), arguments, || {
                    softmax.rows(&logits, columns, &mut to_f32).unwrap();
                });
                run.call(&option(function("rows")), arguments, || {
                    softmax.rows(&logits, columns, &mut to_half).unwrap();
                });
                run.call(&option(function("log_rows")), arguments, || {
                    softmax.log_rows(&logits, columns, &mut to_half).unwrap();
                });
            }
        }
    }
}

#[test]
fn no_call_needs_more_stack_than_its_bound() {
    let mut table = Table::default();
    for backend in backends() {
        let run = &mut Run {
            meter: Meter::new(),
            table: &mut table,
            backend,
        };
        rows(run);
        matrices(run);
        axes(run);
        operations(run);
        options(run);
        if backend == Backend::best() {
            free_functions(run);
        }
        #[cfg(feature = "half")]
        halves::run(run);
    }
    println!("{}", table.markdown());
    let beyond = table.beyond(BOUND);
    let count = beyond.lines().count();
    assert!(
        count == 0,
        "{count} need more than {BOUND} bytes:\n{beyond}"
    );
}

/// Needs `BYTES` of stack, and a frame beside them.
#[inline(never)]
fn need<const BYTES: usize>() {
    black_box(&mut [0_u8; BYTES]);
}

#[test]
fn the_meter_reads_right() {
    fn check<const BYTES: usize>(meter: &mut Meter) {
        let bytes = meter.bytes(need::<BYTES>);
        assert!(
            (BYTES..BYTES + 1024).contains(&bytes),
            "{bytes} read, {BYTES} needed"
        );
    }

    let meter = &mut Meter::new();
    // Falling too: what a call leaves behind must not count for the next.
    check::<0>(meter);
    check::<{ 7 * 1024 }>(meter);
    check::<{ 64 * 1024 }>(meter);
    check::<{ 1024 * 1024 }>(meter);
    check::<{ 3 * 1024 * 1024 }>(meter);
    check::<1000>(meter);
    check::<0>(meter);
}

#[test]
fn a_call_beyond_the_bound_is_reported() {
    let mut table = Table::default();
    let mut run = Run {
        meter: Meter::new(),
        table: &mut table,
        backend: Backend::Scalar,
    };
    run.call("little", "", need::<{ BOUND - 1024 }>);
    run.call("much", "first", need::<{ BOUND + 1 }>);
    run.call("much", "second", need::<0>);
    let beyond = table.beyond(BOUND);
    assert!(beyond.starts_with("much, scalar, first: "), "{beyond}");
    assert_eq!(beyond.lines().count(), 1, "{beyond}");
}
