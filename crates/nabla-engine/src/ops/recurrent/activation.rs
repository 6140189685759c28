//! Activations of recurrent cells, by name.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::Scope;
use crate::ops::real::Real;

/// One activation with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Activation {
    Relu,
    Tanh,
    Sigmoid,
    Softsign,
    Softplus,
    Affine { alpha: f32, beta: f32 },
    LeakyRelu { alpha: f32 },
    ThresholdedRelu { alpha: f32 },
    ScaledTanh { alpha: f32, beta: f32 },
    HardSigmoid { alpha: f32, beta: f32 },
    Elu { alpha: f32 },
}

/// The `count` activations of a node; `defaults` repeat for each direction.
pub(super) fn read(scope: &Scope<'_>, defaults: &[&str], count: usize) -> Result<Vec<Activation>, Fault> {
    let names = scope.attributes.texts("activations")?;
    let mut alphas = scope.attributes.floats("activation_alpha")?.iter().copied();
    let mut betas = scope.attributes.floats("activation_beta")?.iter().copied();
    if !names.is_empty() && names.len() != count {
        return Err(fault("activations", &format!("{count} names"), &names.len().to_string()));
    }
    let name = |index: usize| names.get(index).map_or(defaults[index % defaults.len()], String::as_str);
    (0..count).map(|index| one(name(index), &mut alphas, &mut betas)).collect()
}

/// Parameters are taken in order by those that have them.
fn one(
    name: &str,
    alphas: &mut impl Iterator<Item = f32>,
    betas: &mut impl Iterator<Item = f32>,
) -> Result<Activation, Fault> {
    let mut alpha = |default: f32| alphas.next().unwrap_or(default);
    let mut beta = |default: f32| betas.next().unwrap_or(default);
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        "affine" => Activation::Affine { alpha: alpha(1.0), beta: beta(0.0) },
        "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
        "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
        "scaledtanh" => Activation::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
        "hardsigmoid" => Activation::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
        "elu" => Activation::Elu { alpha: alpha(1.0) },
        _ => return Err(fault("activations", "a known activation", name)),
    })
}

impl Activation {
    /// Replace every element.
    #[inline(always)]
    pub(super) fn apply<R: Real, F: Fma>(self, values: &mut [R]) {
        let (zero, one) = (R::ZERO, R::ONE);
        match self {
            Self::Relu => each(values, |x| if x < zero { zero } else { x }),
            Self::Tanh => each(values, R::tanh::<F>),
            Self::Sigmoid => each(values, R::sigmoid::<F>),
            Self::Softsign => each(values, |x| x / (one + x.size())),
            // Written so that a large argument does not overflow.
            Self::Softplus => each(values, |x| {
                let top = if x > zero { x } else { zero };
                top + (one + (-x.size()).exp::<F>()).ln::<F>()
            }),
            Self::Affine { alpha, beta } => {
                let (alpha, beta) = (R::of_f32(alpha), R::of_f32(beta));
                each(values, |x| alpha * x + beta);
            }
            Self::LeakyRelu { alpha } => {
                let alpha = R::of_f32(alpha);
                each(values, |x| if x < zero { alpha * x } else { x });
            }
            Self::ThresholdedRelu { alpha } => {
                let alpha = R::of_f32(alpha);
                each(values, |x| if x <= alpha { zero } else { x });
            }
            Self::ScaledTanh { alpha, beta } => {
                let (alpha, beta) = (R::of_f32(alpha), R::of_f32(beta));
                each(values, |x| alpha * (beta * x).tanh::<F>());
            }
            Self::HardSigmoid { alpha, beta } => {
                let (alpha, beta) = (R::of_f32(alpha), R::of_f32(beta));
                each(values, |x| {
                    let y = alpha * x + beta;
                    let y = if y < zero { zero } else { y };
                    if y > one { one } else { y }
                });
            }
            Self::Elu { alpha } => {
                let alpha = R::of_f32(alpha);
                each(values, |x| if x < zero { alpha * (x.exp::<F>() - one) } else { x });
            }
        }
    }
}

#[inline(always)]
fn each<R: Real>(values: &mut [R], f: impl Fn(R) -> R) {
    for value in values {
        *value = f(*value);
    }
}
