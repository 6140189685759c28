//! Pixels, what they are called, and how they are written to a file.
//!
//! # Rules
//! - The picture *is* its pixels. A receipt commits to [`Picture::digest`]; a PNG file is a view of it, whose bytes may
//!   change with the version of the library that packs them.

use nabla_types::tensor::{NamedTensor, Tensor, TensorData, outputs_digest};

use super::{ImageError, Role};

/// A picture of 8 bits for each of red, green and blue.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl std::fmt::Debug for Picture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Picture({} x {})", self.width, self.height)
    }
}

impl Picture {
    /// From planes of red, green and blue in about [-1, 1].
    pub(super) fn of_planes(width: u32, height: u32, planes: &[f32]) -> Result<Self, ImageError> {
        let area = width as usize * height as usize;
        if planes.len() != 3 * area {
            return Err(ImageError::Wiring {
                role: Role::VaeDecoder,
                port: "its output".to_owned(),
                expected: format!("3 planes of {width} x {height} pixels"),
                got: format!("{} values", planes.len()),
            });
        }
        let pixels = (0..area).flat_map(|at| [0, 1, 2].map(|plane| level(planes[plane * area + at])));
        Ok(Self { width, height, pixels: pixels.collect() })
    }

    /// In pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// In pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Red, green and blue of each pixel; rows from the top, pixels from the left.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The output of the pipeline: `picture`, UINT8 `[height, width, 3]`.
    ///
    /// # Panics
    /// Never: the shape is that of the pixels.
    #[must_use]
    pub fn to_tensor(&self) -> NamedTensor {
        let shape = vec![u64::from(self.height), u64::from(self.width), 3];
        let tensor = Tensor::new(shape, TensorData::U8(self.pixels.clone()));
        NamedTensor::new("picture", tensor.expect("a picture has 3 bytes for each pixel"))
    }

    /// What a receipt commits to: the digest of [`Self::to_tensor`] as of any model's outputs.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        outputs_digest(&[self.to_tensor()])
    }

    /// A PNG file of these pixels.
    ///
    /// # Errors
    /// [`ImageError::Png`] if the library refuses, which it does for no picture of this module.
    pub fn to_png(&self) -> Result<Vec<u8>, ImageError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// `x * 0.5 + 0.5`, limited to 0 and 1, times 255, to the nearest integer, ties to even. NaN is 0.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number from 0 to 255")]
fn level(x: f32) -> u8 {
    let part = x * 0.5 + 0.5;
    let inside = if part > 1.0 {
        1.0
    } else if part > 0.0 {
        part
    } else {
        0.0
    };
    (inside * 255.0).round_ties_even() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_limited_and_rounded_to_even() {
        for (x, expected) in [
            (-1.0, 0),
            (1.0, 255),
            (-7.0, 0),
            (f32::INFINITY, 255),
            (f32::NAN, 0),
            (f32::NEG_INFINITY, 0),
            // 127.5 and 0.5 are ties.
            (0.0, 128),
            (1.0 / 255.0 - 1.0, 0),
            (0.5, 191),
        ] {
            assert_eq!(level(x), expected, "{x}");
        }
    }

    #[test]
    fn planes_of_another_size_are_refused() {
        let error = Picture::of_planes(2, 2, &[0.0; 11]).unwrap_err().to_string();
        assert!(error.contains("3 planes of 2 x 2 pixels") && error.contains("11 values"), "{error}");
    }

    #[test]
    fn a_png_holds_the_same_pixels() {
        let planes: Vec<f32> = (0_u8..36).map(|i| f32::from(i) / 18.0 - 1.0).collect();
        let picture = Picture::of_planes(4, 3, &planes).unwrap();
        let file = picture.to_png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, pixels.as_slice()), (4, 3, picture.pixels()));
    }
}
