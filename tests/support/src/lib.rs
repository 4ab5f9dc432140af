//! What the tests and the fuzz targets share: the backends to run on, a true result to compare
//! with, a measure of the error, rows to try, and options to try them with.

pub use online_softmax::Backend;
use online_softmax::Softmax;

pub mod calls;
pub mod loss;
pub mod options;
pub mod oracle;
pub mod rows;
pub mod sampling;
pub mod ulp;
pub mod verify;

/// Release builds try many more rows.
pub const THOROUGH: bool = !cfg!(debug_assertions);

/// Whether every `f32` is to be tried, and a hundred times as many rows: minutes in a release build.
pub fn is_exhaustive() -> bool {
    std::env::var("ONLINE_SOFTMAX_EXHAUSTIVE").is_ok_and(|value| value == "1")
}

pub const EVERY_BACKEND: [Backend; 5] = [
    Backend::Scalar,
    Backend::Portable,
    Backend::Avx2,
    Backend::Avx512,
    Backend::Neon,
];

/// Whether `backend` must be available here, by the word of the standard library, not the crate.
pub fn processor_has(backend: Backend) -> bool {
    match backend {
        Backend::Scalar | Backend::Portable => true,
        #[cfg(target_arch = "x86_64")]
        Backend::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        #[cfg(target_arch = "x86_64")]
        Backend::Avx512 => is_x86_feature_detected!("avx512f"),
        Backend::Neon => cfg!(target_arch = "aarch64"),
        _ => false,
    }
}

/// The backends to test: those that the processor has.
pub fn backends() -> impl Iterator<Item = Backend> {
    EVERY_BACKEND
        .into_iter()
        .filter(|backend| processor_has(*backend))
}

/// Those without a fused multiply-add have the same bits.
pub const UNFUSED: &[Backend] = &[Backend::Scalar, Backend::Portable];

/// So have those with it.
pub const FUSED: &[Backend] = &[Backend::Avx2, Backend::Avx512, Backend::Neon];

pub fn is_fused(backend: Backend) -> bool {
    FUSED.contains(&backend)
}

/// The softmax on this backend, which is available.
pub fn on(backend: Backend) -> Softmax<'static> {
    Softmax::new().backend(backend).expect("it is available")
}

/// The documented bounds, in ULP.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub exponential: f64,
    /// Of outputs of 2^−126 and more.
    pub softmax: f64,
    pub log_softmax: f64,
    /// Of max(1, |result|).
    pub log_sum_exp: f64,
}

impl Bounds {
    /// Smaller outputs of the softmax need only be this near, absolutely: 2^−126.
    pub const SMALL: f64 = f32::MIN_POSITIVE as f64;

    /// Of the softmax of any row on every backend. What the rows of the suite reach on fused ones is
    /// less, and is held to less ([`of`](Self::of)); a search finds rows with 2.75.
    pub const SOFTMAX: f64 = 3.0;

    /// Of the log-sum-exp on every backend, and so of merged normalizers.
    pub const LOG_SUM_EXP: f64 = 2.0;

    pub fn of(backend: Backend) -> Self {
        if is_fused(backend) {
            Bounds {
                exponential: 1.0,
                softmax: 2.5,
                log_softmax: 2.0,
                log_sum_exp: Bounds::LOG_SUM_EXP,
            }
        } else {
            Bounds {
                exponential: 1.5,
                softmax: Bounds::SOFTMAX,
                log_softmax: 3.0,
                log_sum_exp: Bounds::LOG_SUM_EXP,
            }
        }
    }
}

/// Runs `test` on `backend` where the processor has it; fails if the crate has not found it then.
pub fn run_on(backend: Backend, test: fn(Backend)) {
    if processor_has(backend) {
        assert!(
            backend.is_available(),
            "{} is not available, but the processor has it",
            backend.name()
        );
        test(backend);
    } else {
        println!("not run: this processor has no {}", backend.name());
    }
}

/// Makes of each function `fn body(backend: Backend)` one test for each backend, `body::scalar`
/// and so on.
#[macro_export]
macro_rules! on_every_backend {
    ($($body:ident),+ $(,)?) => {
        $(
            mod $body {
                #[test]
                fn scalar() {
                    $crate::run_on($crate::Backend::Scalar, super::$body);
                }

                #[test]
                fn portable() {
                    $crate::run_on($crate::Backend::Portable, super::$body);
                }

                #[test]
                #[cfg(target_arch = "x86_64")]
                fn avx2() {
                    $crate::run_on($crate::Backend::Avx2, super::$body);
                }

                #[test]
                #[cfg(target_arch = "x86_64")]
                fn avx512() {
                    $crate::run_on($crate::Backend::Avx512, super::$body);
                }

                #[test]
                #[cfg(target_arch = "aarch64")]
                fn neon() {
                    $crate::run_on($crate::Backend::Neon, super::$body);
                }
            }
        )+
    };
}

/// The bits, with one NaN for all: payloads and signs of NaN are outside every promise.
pub fn bits(value: f32) -> u32 {
    if value.is_nan() {
        f32::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

pub fn bits_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| bits(*value)).collect()
}

/// The bits of [`online_softmax::Normalizer::to_parts`], with one NaN for all.
pub fn bits_of_parts(normalizer: online_softmax::Normalizer) -> (u32, u64) {
    let (max, rest) = normalizer.to_parts();
    let rest = if rest.is_nan() { f64::NAN } else { rest };
    (bits(max), rest.to_bits())
}
