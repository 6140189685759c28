//! Positions: `rope_theta`, `rope_scaling` and the newer `rope_parameters`, as the keys of a GGUF header.

use super::config::Writer;
use super::json::Json;
use crate::Error;
use crate::gguf::shown;
use crate::kernels::math::f64 as math;
use crate::language::Windows;

/// Write the keys; the factors of Llama 3 are the answer, if there are any.
pub(super) fn write(writer: &mut Writer<'_>, head_size: u32) -> Result<Option<Vec<f32>>, Error> {
    let config = writer.config;
    let parameters = config.object("rope_parameters")?;
    // Models with two kinds of blocks have parameters for each.
    let full = parameters.map(|both| both.object("full_attention")).transpose()?.flatten();
    let local = parameters.map(|both| both.object("sliding_attention")).transpose()?.flatten();
    let parameters = full.or(parameters);
    let base = match config.real("rope_theta")? {
        Some(base) => Some(base),
        None => parameters.map(|parameters| parameters.real("rope_theta")).transpose()?.flatten(),
    };
    let base = base.unwrap_or(writer.family.rope_base);
    writer.f32("rope.freq_base", base);
    let local_base = match config.real("rope_local_base_freq")? {
        Some(base) => Some(base),
        None => local.map(|local| local.real("rope_theta")).transpose()?.flatten(),
    };
    if let Some(base) = local_base
        && matches!(writer.family.architecture.traits().windows, Windows::AllButOneOf { .. })
    {
        writer.f32("rope.freq_base_swa", base);
    }
    let dimensions = dimensions(writer, parameters.as_ref(), head_size)?;
    let scaling = match config.object("rope_scaling")? {
        Some(scaling) => Some(scaling),
        None => parameters,
    };
    match scaling {
        Some(scaling) => scale(writer, &scaling, base, dimensions),
        None => Ok(None),
    }
}

/// How many numbers of a head are turned.
fn dimensions(writer: &mut Writer<'_>, parameters: Option<&Json<'_>>, head_size: u32) -> Result<u32, Error> {
    let key = "partial_rotary_factor";
    let part = match writer.config.real(key)? {
        Some(part) => Some(part),
        None => parameters.map(|parameters| parameters.real(key)).transpose()?.flatten(),
    };
    let Some(part) = part.filter(|part| *part != 1.0) else { return Ok(head_size) };
    if part <= 0.0 || part > 1.0 {
        return Err(writer.config.wrong(key, "a part above 0 and up to 1", part.to_string()));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "less than the size of a head"
    )]
    let dimensions = (f64::from(head_size) * f64::from(part)) as u32;
    writer.u32("rope.dimension_count", dimensions);
    Ok(dimensions)
}

fn scale(
    writer: &mut Writer<'_>,
    scaling: &Json<'_>,
    base: f32,
    dimensions: u32,
) -> Result<Option<Vec<f32>>, Error> {
    let kind = match scaling.text("rope_type")? {
        Some(kind) => kind,
        None => scaling.text("type")?.unwrap_or("default"),
    };
    match kind {
        "default" => Ok(None),
        "linear" => {
            let factor = required(scaling, "factor")?;
            writer.text("rope.scaling.type", kind);
            writer.f32("rope.scaling.factor", factor);
            Ok(None)
        }
        "yarn" => yarn(writer, scaling).map(|()| None),
        "llama3" if writer.family.architecture.traits().rope_factors => {
            llama3(scaling, base, dimensions).map(Some)
        }
        other => Err(unsupported(shown(other))),
    }
}

fn unsupported(got: String) -> Error {
    Error::Unsupported {
        what: "scaling of positions",
        got,
        hint: "taken are default, linear, yarn, and llama3 in its own class",
    }
}

fn required(scaling: &Json<'_>, key: &str) -> Result<f32, Error> {
    match scaling.real(key)? {
        Some(value) if value > 0.0 => Ok(value),
        Some(value) => Err(scaling.wrong(key, "a number above 0", value.to_string())),
        None => Err(scaling.wrong(key, "a number above 0", "nothing")),
    }
}

fn yarn(writer: &mut Writer<'_>, scaling: &Json<'_>) -> Result<(), Error> {
    // These say otherwise what queries and keys are multiplied by, or how the ramp is rounded.
    for key in ["attention_factor", "mscale", "mscale_all_dim", "truncate"] {
        if scaling.get(key).is_some() {
            return Err(unsupported(format!("yarn with {key}")));
        }
    }
    let factor = required(scaling, "factor")?;
    let original = match scaling.optional_size("original_max_position_embeddings")? {
        Some(tokens) => tokens,
        None => writer.config.size("max_position_embeddings")?,
    };
    writer.text("rope.scaling.type", "yarn");
    writer.f32("rope.scaling.factor", factor);
    writer.u32("rope.scaling.original_context_length", original);
    for (key, from) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
        if let Some(turns) = scaling.real(from)? {
            writer.f32(&format!("rope.scaling.{key}"), turns);
        }
    }
    Ok(())
}

/// What the angle of each pair is divided by: fast ones stay, slow ones get the factor, between them a ramp.
fn llama3(scaling: &Json<'_>, base: f32, dimensions: u32) -> Result<Vec<f32>, Error> {
    let factor = f64::from(required(scaling, "factor")?);
    let low = f64::from(required(scaling, "low_freq_factor")?);
    let high = f64::from(required(scaling, "high_freq_factor")?);
    let key = "original_max_position_embeddings";
    let context = scaling.size(key)?;
    if low >= high {
        return Err(scaling.wrong("high_freq_factor", format!("more than {low}"), high.to_string()));
    }
    if dimensions > DIMENSIONS_MAX {
        let expected = format!("heads of at most {DIMENSIONS_MAX} numbers");
        return Err(scaling.wrong("rope_type", expected, dimensions.to_string()));
    }
    let context = f64::from(context);
    let factor_of = |pair: u32| {
        let power = -f64::from(2 * pair) / f64::from(dimensions);
        let wave = 2.0 * std::f64::consts::PI / math::pow(f64::from(base), power);
        if wave < context / high {
            1.0
        } else if wave > context / low {
            factor
        } else {
            let ramp = (context / wave - low) / (high - low);
            1.0 / ((1.0 - ramp) / factor + ramp)
        }
    };
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32")]
    Ok((0..dimensions / 2).map(|pair| factor_of(pair) as f32).collect())
}

/// No head is larger.
const DIMENSIONS_MAX: u32 = 1 << 10;
