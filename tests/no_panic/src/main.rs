//! Calls every public function and method with arguments that the compiler does not know. A panic
//! that the compiler could not rule out is a call of a function that nobody defines, and there is
//! no allocator: then the program is not linked. It is not meant to be run.

#![no_std]
#![no_main]

#[cfg(feature = "half")]
mod halves;

use core::fmt::Write;
use core::hint::black_box;
use online_softmax::{
    Backend, Candidate, CrossEntropy, Error, FullyMasked, Mask, Normalizer, Sampler, Softmax,
    Stream, cross_entropy, cross_entropy_gradient, log_softmax, log_softmax_gradient,
    log_softmax_in_place, log_sum_exp, reference, softmax, softmax_gradient, softmax_in_place,
    top_k,
};

unsafe extern "C" {
    /// Defined nowhere.
    fn a_panic_is_possible() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // SAFETY: a program that contains this call is never linked.
    unsafe { a_panic_is_possible() }
}

/// A slice of any length; for the compiler, as the value below is 0 values long.
fn slice<T>() -> &'static [T] {
    black_box(&[])
}

fn slice_mut<T>() -> &'static mut [T] {
    black_box(&mut [])
}

fn number() -> usize {
    black_box(0)
}

fn float() -> f32 {
    black_box(0.0)
}

fn shape() -> [usize; 3] {
    black_box([0; 3])
}

/// The entry of the program.
#[unsafe(no_mangle)]
extern "C" fn call_everything() {
    if cfg!(feature = "planted") {
        black_box(slice::<f32>()[number()]);
        return;
    }
    backends();
    let softmax = Softmax::default();
    all_of(&softmax);
    if let Ok(softmax) = options(softmax) {
        all_of(&softmax);
        #[cfg(feature = "half")]
        halves::all_of(softmax);
    }
    losses(softmax);
    samplers();
    functions();
    streams();
}

fn backends() {
    let backend = black_box(Backend::best());
    black_box(backend.is_available());
    black_box(backend.name());
    Backend::available().for_each(|backend| {
        black_box(backend);
    });
    result(backend.exp(slice(), slice_mut()));
}

fn options(softmax: Softmax<'static>) -> Result<Softmax<'static>, Error> {
    let mut softmax = softmax.backend(black_box(Backend::Scalar))?;
    while black_box(false) {
        softmax = softmax.scale(float());
        softmax = softmax.soft_cap(float());
        softmax = softmax.sink(float());
        softmax = softmax.fully_masked(black_box(FullyMasked::Zero));
        softmax = softmax.matrix_rows(number());
        softmax = softmax.heads(number());
        softmax = softmax.row_stride(number());
        softmax = softmax.mask(black_box(Mask::Keep(slice())));
    }
    Ok(softmax)
}

fn all_of(softmax: &Softmax<'_>) {
    result(softmax.row(slice(), slice_mut()));
    result(softmax.row_in_place(slice_mut()));
    result(softmax.log_row(slice(), slice_mut()));
    result(softmax.log_row_in_place(slice_mut()));
    result(softmax.normalizer(slice()));
    result(softmax.log_sum_exp(slice()));
    result(softmax.rows(slice(), number(), slice_mut()));
    result(softmax.rows_in_place(slice_mut(), number()));
    result(softmax.log_rows(slice(), number(), slice_mut()));
    result(softmax.log_sum_exp_rows(slice(), number(), slice_mut()));
    result(softmax.axis(slice(), shape(), slice_mut()));
    result(softmax.axis_in_place(slice_mut(), shape()));
    result(softmax.log_axis(slice(), shape(), slice_mut()));
    result(softmax.top_k(slice(), slice_mut()));
    result(softmax.cross_entropy(slice(), number()));
    result(softmax.cross_entropy_gradient(slice(), number(), slice_mut()));
    result(softmax.cross_entropy_gradient_in_place(slice_mut(), number()));
    result(softmax.softmax_gradient(slice(), slice(), slice_mut()));
    result(softmax.log_softmax_gradient(slice(), slice(), slice_mut()));
    result(softmax.softmax_gradient_in_place(slice(), slice_mut()));
    result(softmax.softmax_gradient_rows(slice(), slice(), number(), slice_mut()));
    result(softmax.softmax_gradient_rows_in_place(slice(), number(), slice_mut()));
    result(softmax.log_softmax_gradient_in_place(slice(), slice_mut()));
    result(softmax.log_softmax_gradient_rows(slice(), slice(), number(), slice_mut()));
    result(softmax.log_softmax_gradient_rows_in_place(slice(), number(), slice_mut()));
    result(softmax.log_sum_exp_axis(slice(), shape(), slice_mut()));
}

fn losses(softmax: Softmax<'static>) {
    let loss = CrossEntropy::new().softmax(black_box(softmax));
    let Ok(mut loss) = loss.backend(black_box(Backend::Scalar)) else {
        return;
    };
    while black_box(false) {
        loss = loss.label_smoothing(float());
        loss = loss.class_weights(slice());
        loss = loss.ignore(number());
        loss = loss.upstream(float());
    }
    result(loss.rows(slice(), number(), slice(), slice_mut()));
    result(loss.sum(slice(), number(), slice()));
    result(loss.mean(slice(), number(), slice()));
    result(loss.gradient(slice(), number(), slice(), slice_mut()));
    result(loss.gradient_in_place(slice_mut(), number(), slice()));
    result(loss.gradient_rows(slice(), number(), slice(), slice(), slice_mut()));
    result(loss.gradient_rows_in_place(slice_mut(), number(), slice(), slice()));
    result(loss.soft_rows(slice(), number(), slice(), slice_mut()));
    result(loss.soft_sum(slice(), number(), slice()));
    result(loss.soft_mean(slice(), number(), slice()));
    result(loss.soft_gradient(slice(), number(), slice(), slice_mut()));
    result(loss.soft_gradient_in_place(slice_mut(), number(), slice()));
    result(loss.soft_gradient_rows(slice(), number(), slice(), slice(), slice_mut()));
    result(loss.soft_gradient_rows_in_place(slice_mut(), number(), slice(), slice()));
}

fn samplers() {
    let Ok(mut sampler) = Sampler::new().backend(black_box(Backend::Scalar)) else {
        return;
    };
    while black_box(false) {
        sampler = sampler.temperature(float());
        sampler = sampler.top_k(number());
        sampler = sampler.top_p(float());
        sampler = sampler.min_p(float());
    }
    result(sampler.draw(slice(), float()));
    let kept = sampler.kept(slice());
    black_box(kept.contains(number(), float()));
}

fn functions() {
    result(softmax(slice(), slice_mut()));
    black_box(softmax_in_place(slice_mut()));
    result(log_softmax(slice(), slice_mut()));
    black_box(log_softmax_in_place(slice_mut()));
    black_box(log_sum_exp(slice()));
    black_box(top_k(slice(), slice_mut::<Candidate>()));
    result(cross_entropy(slice(), number()));
    result(cross_entropy_gradient(slice(), number(), slice_mut()));
    result(softmax_gradient(slice(), slice(), slice_mut()));
    result(log_softmax_gradient(slice(), slice(), slice_mut()));
    reference::three_loop(slice(), slice_mut());
    reference::online(slice(), slice_mut());
}

fn streams() {
    if let Ok(mut stream) = black_box(Stream::new()).backend(black_box(Backend::Scalar)) {
        stream.extend(slice());
        normalizers(stream.finish());
        stream.clone_from(&Stream::default());
        black_box(stream);
    }
}

fn normalizers(mut normalizer: Normalizer) {
    normalizer.push(float());
    normalizer = normalizer.merge(black_box(Normalizer::new()));
    normalizer = black_box(normalizer.merge(black_box(Normalizer::default())));
    normalizer.extend(slice().iter().copied());
    normalizer = normalizer.merge(slice().iter().copied().collect());
    black_box(normalizer.max());
    black_box(normalizer.denominator());
    black_box(normalizer.log_sum_exp());
    black_box(normalizer.log_difference(black_box(Normalizer::new())));
    black_box(normalizer.probability(float()));
    black_box(normalizer.log_probability(float()));
    black_box(normalizer.outcome());
    black_box(normalizer.to_parts());
    black_box(Normalizer::from_parts(float(), black_box(0.0)));
}

/// Uses a result, and the text of an error.
fn result<T>(result: Result<T, Error>) {
    match result {
        Ok(value) => {
            black_box(value);
        }
        Err(error) => {
            let _ = write!(Text, "{}", black_box(error));
        }
    }
}

/// Takes in any text.
struct Text;

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        black_box(text);
        black_box(Ok(()))
    }
}
