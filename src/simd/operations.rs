//! How an instruction set lists its operations: a line each, with its intrinsics.

/// Gives functions the attributes of a leaf, as "Inlining" in [`simd`](super) explains.
macro_rules! leaf {
    ($($function:item)*) => {
        $(
            #[cfg_attr(not(unoptimized), inline(always))]
            $function
        )*
    };
}

/// Operations of registers, within an `impl` for a type that wraps one register; or, with `impl
/// Operator for Type:`, those of Rust's operators. The parameters of a line are bare registers; the
/// first is `self`. The result is a register too, unless an arrow gives its type.
///
/// A line may call only intrinsics that touch no memory, of the features that the proof stands
/// for. The type must have no constructor but its field, which only the module of its instruction
/// set sees, and which that module fills only where it has the proof.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operations {
    ($(impl $operator:ident for $register:ident: $name:ident $operands:tt = $value:expr;)+) => {
        $(
            impl $operator for $register {
                type Output = Self;
                operations! { $name $operands = $value; }
            }
        )+
    };
    ($($name:ident($this:ident $(, $operand:ident)*) $(-> $result:tt)? = $value:expr;)+) => {
        $(
            leaf! {
                fn $name(self $(, $operand: Self)*) -> operations!(@type $($result)?) {
                    let $this = self.0;
                    $(let $operand = $operand.0;)*
                    // SAFETY: `self` exists only because there was the proof that its
                    // instructions are available, and these touch no memory.
                    let value = unsafe { $value };
                    operations!(@wrap value $($result)?)
                }
            }
        )+
    };
    (@type) => { Self };
    (@type $result:tt) => { $result };
    (@wrap $value:ident) => { Self($value) };
    (@wrap $value:ident (Self, Self)) => { (Self($value.0), Self($value.1)) };
    (@wrap $value:ident (Self, u32)) => { (Self($value.0), $value.1) };
    (@wrap $value:ident u32) => { $value };
}

pub(super) use leaf;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use operations;
