//! One body for every element type.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData};

/// The Rust type of the elements of a [`Dtype`].
pub(crate) trait Element: Clone + Default + Send + Sync + 'static {
    const DTYPE: Dtype;
    /// The elements, if they are of this type.
    fn slice(data: &TensorData) -> Option<&[Self]>;
    /// Elements as tensor data.
    fn wrap(elements: Vec<Self>) -> TensorData;
    /// The elements taken out, if they are of this type.
    fn take(data: TensorData) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($($type:ty => $variant:ident),*) => {$(
        impl Element for $type {
            const DTYPE: Dtype = Dtype::$variant;
            fn slice(data: &TensorData) -> Option<&[Self]> {
                if let TensorData::$variant(v) = data { Some(v) } else { None }
            }
            fn wrap(elements: Vec<Self>) -> TensorData {
                TensorData::$variant(elements)
            }
            fn take(data: TensorData) -> Option<Vec<Self>> {
                if let TensorData::$variant(v) = data { Some(v) } else { None }
            }
        }
    )*};
}

element!(
    f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i16 => I16, i8 => I8,
    u64 => U64, u32 => U32, u16 => U16, u8 => U8, bool => Bool, String => String
);

/// `dispatch!(dtype, T => body)`: the body with `T` as the Rust type of any dtype. With a list of kinds
/// (`float`, `integer`, `bool`, `string`) only those; any other dtype is the `else` expression.
macro_rules! dispatch {
    ($dtype:expr, $T:ident => $body:expr) => {
        $crate::ops::dispatch!($dtype, $T: [F32 F64 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 Bool String] => $body, else unreachable!("every dtype is listed"))
    };
    ($dtype:expr, $T:ident: number => $body:expr, else $other:expr) => {
        $crate::ops::dispatch!($dtype, $T: [F32 F64 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8] => $body, else $other)
    };
    ($dtype:expr, $T:ident: integer => $body:expr, else $other:expr) => {
        $crate::ops::dispatch!($dtype, $T: [I64 I32 I16 I8 U64 U32 U16 U8] => $body, else $other)
    };
    ($dtype:expr, $T:ident: float => $body:expr, else $other:expr) => {
        $crate::ops::dispatch!($dtype, $T: [F32 F64 F16 BF16] => $body, else $other)
    };
    ($dtype:expr, $T:ident: [$($kind:ident)*] => $body:expr, else $other:expr) => {{
        #[allow(unreachable_patterns, clippy::allow_attributes, reason = "when every dtype is listed")]
        match $dtype {
            $(nabla_types::tensor::Dtype::$kind => { type $T = $crate::ops::element_type!($kind); $body })*
            _ => $other,
        }
    }};
}
pub(crate) use dispatch;

/// The Rust type of a dtype.
macro_rules! element_type {
    (F32) => {
        f32
    };
    (F64) => {
        f64
    };
    (F16) => {
        half::f16
    };
    (BF16) => {
        half::bf16
    };
    (I64) => {
        i64
    };
    (I32) => {
        i32
    };
    (I16) => {
        i16
    };
    (I8) => {
        i8
    };
    (U64) => {
        u64
    };
    (U32) => {
        u32
    };
    (U16) => {
        u16
    };
    (U8) => {
        u8
    };
    (Bool) => {
        bool
    };
    (String) => {
        String
    };
}
pub(crate) use element_type;
