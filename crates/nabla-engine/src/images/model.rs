//! Three networks that fit each other, and their settings.
//!
//! # Rules
//! - Names, types and shapes of inputs and outputs are read from the networks. Open dimensions are bounded by the
//!   settings: at most two rows (without and with the prompt), the tokens of a prompt, and the latents of a picture of
//!   the usual size, which is thereby the greatest.
//! - The identity of a pipeline is the list of its [parts](ImageModel::parts): canonical graph and weights of each
//!   network, and the settings, in which nothing of the folder's spelling is left.
//!
//! # When things go wrong
//! An input that no pipeline of this kind has (the sizes and the second text of XL, say) is refused by its name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use nabla_types::tensor::Dtype;

use super::clip::Tokenizer;
use super::folder::{self, Texts};
use super::settings::Settings;
use super::{ImageError, ImageLimits, Role};
use crate::{Dim, Folder, Limits, Model, Port, import_onnx, onnx};

/// Names of the parts, in their order.
pub const PARTS: [&str; 7] = [
    "settings",
    "text_encoder/graph",
    "text_encoder/weights",
    "unet/graph",
    "unet/weights",
    "vae_decoder/graph",
    "vae_decoder/weights",
];

/// Rows of a run: without the prompt, and with it.
const ROWS: u64 = 2;
/// Most values of one picture's latents: those of Stable Diffusion for 8192 x 8192 pixels.
const LATENTS_MAX: u64 = 1 << 22;
/// Channels, and cells along one side, of latents of which no file says so.
const CHANNELS: u64 = 4;
const CELLS: u64 = 64;

/// A part of a pipeline as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// One of [`PARTS`].
    pub name: &'static str,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
}

/// A pipeline that is checked and ready to be prepared.
#[derive(Debug, Clone)]
pub struct ImageModel {
    pub(super) settings: Arc<Settings>,
    pub(super) tokenizer: Tokenizer,
    networks: [Arc<Model>; 3],
    pub(super) wiring: Wiring,
    pub(super) limits: ImageLimits,
}

/// How the networks are joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wiring {
    pub(super) ids: Port,
    pub(super) text_rows: Rows,
    pub(super) states_out: usize,
    pub(super) states_width: u64,
    pub(super) sample: Port,
    pub(super) time: Port,
    pub(super) states: Port,
    pub(super) guess_out: usize,
    pub(super) unet_rows: Rows,
    pub(super) latents: Port,
    pub(super) planes_out: usize,
    pub(super) channels: u64,
    /// Cells of the latents, downwards and across: the greatest numbers, and whether fewer may be asked for.
    pub(super) cells: [(u64, bool); 2],
}

/// How many rows a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) most: usize,
    /// Whether it takes that many and no fewer.
    pub(super) exactly: bool,
}

impl ImageModel {
    /// Read a folder in the shape of a Stable Diffusion export to ONNX.
    ///
    /// # Errors
    /// [`ImageError`] that names the file and what is wrong with it.
    pub fn read_folder(root: &Path, limits: &ImageLimits) -> Result<Self, ImageError> {
        let texts = folder::read_texts(root)?;
        let length = u64::from(texts.settings.vocabulary.length);
        let text = import(root, Role::TextEncoder, &limits.network, &[("input_ids", vec![ROWS, length])])?;
        let (channels, cells) = (texts.channels.unwrap_or(CHANNELS), texts.cells.unwrap_or(CELLS));
        let width = match output(Role::TextEncoder, &text, "last_hidden_state")?.1.shape.get(2) {
            Some(Dim::Fixed(width)) => *width,
            _ => 1,
        };
        let unet = import(
            root,
            Role::Unet,
            &limits.network,
            &[
                // A time for each row has the rows' dimension: what is written later counts.
                ("timestep", vec![1]),
                ("encoder_hidden_states", vec![ROWS, length, width]),
                ("sample", vec![ROWS, channels, cells, cells]),
            ],
        )?;
        let latents = [("latent_sample", vec![1, channels, cells, cells])];
        let decoder = import(root, Role::VaeDecoder, &limits.network, &latents)?;
        let checked = check_sizes(&texts, &unet);
        let model = Self::new(texts.settings, [text, unet, decoder], limits)?;
        checked.map(|()| model)
    }

    /// Read a pipeline from the bytes of its [parts](Self::parts), in the order of [`PARTS`].
    ///
    /// # Errors
    /// [`ImageError`] if a part is not in its canonical encoding, or they do not fit.
    pub fn from_parts(parts: [&[u8]; 7], limits: &ImageLimits) -> Result<Self, ImageError> {
        let [settings, networks @ ..] = parts;
        let settings = Settings::from_bytes(settings)?;
        let network = |role: Role, at: usize| {
            let model = Model::from_parts(networks[at], networks[at + 1], &limits.network);
            model.map_err(ImageError::of(role))
        };
        let [text, unet, decoder] = Role::ALL;
        Self::new(settings, [network(text, 0)?, network(unet, 2)?, network(decoder, 4)?], limits)
    }

    fn new(settings: Settings, networks: [Model; 3], limits: &ImageLimits) -> Result<Self, ImageError> {
        let tokenizer = Tokenizer::new(&settings.vocabulary)?;
        let wiring = Wiring::new(&networks, u64::from(settings.vocabulary.length))?;
        let networks = networks.map(Arc::new);
        Ok(Self { settings: Arc::new(settings), tokenizer, networks, wiring, limits: limits.clone() })
    }

    /// The parts that make up the pipeline's identity, in the order of [`PARTS`].
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let networks = self.networks.iter().flat_map(|model| [model.graph_bytes(), model.weights_bytes()]);
        let bytes = std::iter::once(self.settings.to_bytes()).chain(networks);
        PARTS.into_iter().zip(bytes).map(|(name, bytes)| Part { name, bytes }).collect()
    }

    /// A network.
    #[must_use]
    pub fn network(&self, role: Role) -> &Arc<Model> {
        match role {
            Role::TextEncoder => &self.networks[0],
            Role::Unet => &self.networks[1],
            Role::VaeDecoder => &self.networks[2],
        }
    }

    /// Width and height of a picture whose request names none, in pixels; the greatest that there are.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        let pixels = |(cells, _): (u64, bool)| {
            u32::try_from(cells).unwrap_or(u32::MAX).saturating_mul(self.settings.cell_pixels)
        };
        (pixels(self.wiring.cells[1]), pixels(self.wiring.cells[0]))
    }

    /// Steps of a request that names none.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.settings.steps
    }

    /// Guidance of a request that names none.
    #[must_use]
    pub fn guidance(&self) -> f32 {
        self.settings.guidance()
    }

    /// Multiply-adds of a picture of the greatest size, with guidance, that asks the UNet so often. An upper bound.
    #[must_use]
    pub fn macs(&self, questions: u64) -> u64 {
        let rows = |role| {
            let interface = self.network(role).interface();
            // Where rows are a size like any other, the cost is that of the greatest number of them.
            let open = self.wiring.rows(role).most > 1 && !interface.is_batched();
            interface.cost().for_batch(if open { 1 } else { ROWS }).macs
        };
        let unet = rows(Role::Unet).saturating_mul(questions);
        rows(Role::TextEncoder).saturating_add(unet).saturating_add(rows(Role::VaeDecoder))
    }
}

/// Read and import one network. `sizes` bounds the open dimensions of its inputs.
fn import(root: &Path, role: Role, limits: &Limits, sizes: &[(&str, Vec<u64>)]) -> Result<Model, ImageError> {
    let refused = ImageError::of(role);
    let bytes = folder::read(root, role.file(), limits.file_bytes_max)?;
    let external = Folder::new(root.join(role.folder())).map_err(&refused)?;
    let ports = onnx::input_ports(&bytes, &external, limits).map_err(&refused)?;
    let mut symbols = BTreeMap::new();
    for (name, sizes) in sizes {
        // A network with one input has it under any name.
        let port = ports.iter().find(|port| port.name == *name || ports.len() == 1);
        for (dim, size) in port.into_iter().flat_map(|port| &port.shape).zip(sizes) {
            if let Dim::Symbol(name) = dim {
                symbols.insert(name.to_string(), *size);
            }
        }
    }
    import_onnx(&bytes, &external, &Limits { symbols, ..limits.clone() }).map_err(refused)
}

/// Refuse a UNet whose fixed sizes are not those that its `config.json` gives.
fn check_sizes(texts: &Texts, unet: &Model) -> Result<(), ImageError> {
    let sample = input(Role::Unet, unet, "sample", 4)?;
    for (key, said, at) in
        [("in_channels", texts.channels, 1), ("sample_size", texts.cells, 2), ("sample_size", texts.cells, 3)]
    {
        if let (Some(said), Dim::Fixed(got)) = (said, &sample.shape[at])
            && said != *got
        {
            let expected = format!("{got}, as unet/model.onnx has it");
            return Err(ImageError::setting("unet/config.json", key, expected, said.to_string()));
        }
    }
    Ok(())
}

impl Wiring {
    fn new(networks: &[Model; 3], length: u64) -> Result<Self, ImageError> {
        let [text, unet, decoder] = networks;
        let (encoder, middle, last) = (Role::TextEncoder, Role::Unet, Role::VaeDecoder);

        let ids = only_input(encoder, text, 2)?;
        check_dtype(encoder, ids, &[Dtype::I64, Dtype::I32])?;
        check_dim(encoder, text, ids, 1, length)?;
        let (states_out, states) = output(encoder, text, "last_hidden_state")?;
        check_dtype(encoder, &states, &[Dtype::F32, Dtype::F16])?;
        let [_, _, Dim::Fixed(states_width)] = states.shape[..] else {
            return Err(wrong(encoder, &states, "3 dimensions, the last one fixed"));
        };

        check_inputs(middle, unet, &["sample", "timestep", "encoder_hidden_states"])?;
        let sample = input(middle, unet, "sample", 4)?;
        check_dtype(middle, sample, &[Dtype::F32, Dtype::F16])?;
        let time = input_of(middle, unet, "timestep", &[0, 1])?;
        check_dtype(middle, time, &[Dtype::I64, Dtype::I32, Dtype::F32, Dtype::F16])?;
        let takes = input(middle, unet, "encoder_hidden_states", 3)?;
        check_dtype(middle, takes, &[Dtype::F32, Dtype::F16])?;
        check_dim(middle, unet, takes, 1, length)?;
        check_dim(middle, unet, takes, 2, states_width)?;
        let size = |at: usize| match &sample.shape[at] {
            Dim::Fixed(size) => (*size, false),
            Dim::Symbol(name) => (greatest(unet, name), true),
            Dim::Unknown => (0, false),
        };
        let (channels, cells) = (size(1).0, [size(2), size(3)]);
        let count = [cells[0].0, cells[1].0].iter().fold(channels, |count, side| count.saturating_mul(*side));
        if !(1..=LATENTS_MAX).contains(&count) {
            return Err(wrong(middle, sample, format!("1 to {LATENTS_MAX} latents")));
        }
        let unet_rows = rows(middle, unet, sample)?;
        if let Some(Dim::Fixed(times)) = time.shape.first()
            && *times != 1
            && *times != unet_rows.most as u64
        {
            return Err(wrong(middle, time, "1 time, or one for each row"));
        }
        let (guess_out, guess) = output(middle, unet, "out_sample")?;
        check_dtype(middle, &guess, &[Dtype::F32, Dtype::F16])?;
        check_known(middle, &guess, &sample.shape)?;

        let latents = only_input(last, decoder, 4)?;
        check_dtype(last, latents, &[Dtype::F32, Dtype::F16])?;
        for (at, size) in [(0, 1), (1, channels), (2, cells[0].0), (3, cells[1].0)] {
            check_dim(last, decoder, latents, at, size)?;
        }
        let (planes_out, planes) = output(last, decoder, "sample")?;
        check_dtype(last, &planes, &[Dtype::F32, Dtype::F16])?;
        let any = Dim::Unknown;
        check_known(last, &planes, &[any.clone(), Dim::Fixed(3), any.clone(), any])?;

        Ok(Self {
            text_rows: rows(encoder, text, ids)?,
            unet_rows,
            ids: ids.clone(),
            sample: sample.clone(),
            time: time.clone(),
            states: takes.clone(),
            latents: latents.clone(),
            states_out,
            states_width,
            guess_out,
            planes_out,
            channels,
            cells,
        })
    }

    fn rows(&self, role: Role) -> Rows {
        match role {
            Role::TextEncoder => self.text_rows,
            Role::Unet => self.unet_rows,
            Role::VaeDecoder => Rows { most: 1, exactly: true },
        }
    }
}

fn wrong(role: Role, port: &Port, expected: impl Into<String>) -> ImageError {
    let name: String = port.name.chars().take(80).collect();
    ImageError::Wiring { role, port: name, expected: expected.into(), got: port.to_string() }
}

fn check_dtype(role: Role, port: &Port, taken: &[Dtype]) -> Result<(), ImageError> {
    if taken.contains(&port.dtype) {
        return Ok(());
    }
    let names: Vec<_> = taken.iter().map(|dtype| dtype.name()).collect();
    Err(wrong(role, port, names.join(" or ")))
}

/// Dimension `at` of an input must be, or bear, this size.
fn check_dim(role: Role, model: &Model, port: &Port, at: usize, size: u64) -> Result<(), ImageError> {
    let fits = match &port.shape[at] {
        Dim::Fixed(fixed) => *fixed == size,
        Dim::Symbol(name) => greatest(model, name) >= size,
        Dim::Unknown => false,
    };
    if fits { Ok(()) } else { Err(wrong(role, port, format!("{size} in dimension {at}"))) }
}

/// An output must have these dimensions where both are known.
fn check_known(role: Role, port: &Port, expected: &[Dim]) -> Result<(), ImageError> {
    // An output without dimensions has a shape that only the run knows.
    let unknown = port.shape.is_empty();
    let agree = |(got, expected): (&Dim, &Dim)| match (got, expected) {
        (Dim::Fixed(got), Dim::Fixed(expected)) => got == expected,
        _ => true,
    };
    if unknown || port.shape.len() == expected.len() && port.shape.iter().zip(expected).all(agree) {
        return Ok(());
    }
    let dims: Vec<_> = expected.iter().map(ToString::to_string).collect();
    Err(wrong(role, port, format!("[{}]", dims.join(", "))))
}

fn greatest(model: &Model, name: &str) -> u64 {
    model.interface().symbols().iter().find(|symbol| &*symbol.name == name).map_or(0, |symbol| symbol.max)
}

/// How many rows a network takes by its input `port`.
fn rows(role: Role, model: &Model, port: &Port) -> Result<Rows, ImageError> {
    match &port.shape[0] {
        Dim::Fixed(1) => Ok(Rows { most: 1, exactly: true }),
        Dim::Fixed(2) => Ok(Rows { most: 2, exactly: true }),
        Dim::Symbol(name) => Ok(Rows { most: if greatest(model, name) > 1 { 2 } else { 1 }, exactly: false }),
        Dim::Fixed(_) | Dim::Unknown => Err(wrong(role, port, "1 or 2 rows, or any number of them")),
    }
}

fn check_inputs(role: Role, model: &Model, known: &[&str]) -> Result<(), ImageError> {
    match model.inputs().iter().find(|port| !known.contains(&port.name.as_str())) {
        Some(other) => Err(wrong(role, other, format!("no other inputs than {}", known.join(", ")))),
        None => Ok(()),
    }
}

/// The one input of a network.
fn only_input(role: Role, model: &Model, rank: usize) -> Result<&Port, ImageError> {
    match model.inputs() {
        [port] if port.shape.len() == rank => Ok(port),
        [port] => Err(wrong(role, port, format!("{rank} dimensions"))),
        [_, other, ..] => Err(wrong(role, other, "one input only")),
        [] => Err(missing(role, "its input")),
    }
}

fn input<'a>(role: Role, model: &'a Model, name: &str, rank: usize) -> Result<&'a Port, ImageError> {
    input_of(role, model, name, &[rank])
}

fn input_of<'a>(role: Role, model: &'a Model, name: &str, ranks: &[usize]) -> Result<&'a Port, ImageError> {
    match model.inputs().iter().find(|port| port.name == name) {
        Some(port) if ranks.contains(&port.shape.len()) => Ok(port),
        Some(port) => Err(wrong(role, port, format!("{} dimensions", ranks[ranks.len() - 1]))),
        None => Err(missing(role, name)),
    }
}

/// The output of this name, or the only one there is; and its place.
fn output(role: Role, model: &Model, name: &str) -> Result<(usize, Port), ImageError> {
    let outputs = model.outputs();
    let named = outputs.iter().position(|port| port.name == name);
    let at = named.or((outputs.len() == 1).then_some(0)).ok_or_else(|| missing(role, name))?;
    Ok((at, outputs[at].clone()))
}

fn missing(role: Role, name: &str) -> ImageError {
    let (expected, got) = ("an input or output of this name".to_owned(), "none".to_owned());
    ImageError::Wiring { role, port: name.to_owned(), expected, got }
}
