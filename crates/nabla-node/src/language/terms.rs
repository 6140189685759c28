//! What a manifest says of a language model.

use nabla_engine::{
    Engine, Error, KERNEL_SPEC, Limits, ReadAt,
    gguf::{Canonical, Gguf, Joined},
    language::TextModel,
};
use nabla_text::{Message, Render};
use nabla_types::manifest::{BlobRef, LanguageTerms, ModelManifest};

/// Conversations that a template is measured by, without a word said in them: the plainest one, and what can come to
/// it. Some templates take no instructions, and refuse those.
const PLAINEST: &[&str] = &["user"];
const LONGER: [&[&str]; 2] = [&["system", "user"], &["user", "assistant", "user"]];

/// The manifest of a GGUF file that `model` was loaded from, with its two blobs.
///
/// # Errors
/// As [`Gguf::open`] and [`Canonical::data`]; [`Error::Text`] if the model takes no conversations.
pub fn manifest_of_gguf(
    source: &dyn ReadAt,
    model: &TextModel,
    limits: &Limits,
) -> Result<(ModelManifest, Vec<u8>, Vec<u8>), Error> {
    let canonical = Canonical::of(&Gguf::open(source)?)?;
    let (graph, weights) = (canonical.header().to_vec(), canonical.data(source, limits)?);
    let manifest = ModelManifest {
        format: ModelManifest::FORMAT.to_owned(),
        kernel_spec: KERNEL_SPEC,
        macs_per_row: model.macs_per_token(),
        batched: false,
        graph: BlobRef::of(&graph),
        weights: BlobRef::of(&weights),
        row_elements: 1,
        language: Some(terms_of(model)?),
    };
    Ok((manifest, graph, weights))
}

/// What the cost of conversations depends on.
///
/// # Errors
/// [`Error::Text`] if the model has no chat template, or one that refuses the plainest conversations.
pub fn terms_of(model: &TextModel) -> Result<LanguageTerms, Error> {
    let template = model.template().ok_or(nabla_text::Error::NoTemplate)?;
    let name = |token: Option<u32>| {
        let piece = token.and_then(|token| model.vocabulary().piece(token)).unwrap_or_default();
        String::from_utf8_lossy(piece).into_owned()
    };
    let ids = model.vocabulary().ids();
    let (bos, eos) = (name(ids.bos), name(ids.eos));
    let length = |roles: &[&str]| {
        let messages: Vec<Message> = roles.iter().map(|role| Message::new(role, "")).collect();
        let render =
            Render { add_generation_prompt: true, bos_token: &bos, eos_token: &eos, ..Render::of(&messages) };
        template.render(&render).map(|text| text.len())
    };
    let plainest = length(PLAINEST)?;
    // A byte more for a token that begins the text, and one for a space that a vocabulary may put first.
    let mut template_bytes = (plainest + 2).div_ceil(PLAINEST.len() + 1);
    for roles in LONGER {
        let more = length(roles).unwrap_or(0).saturating_sub(plainest);
        template_bytes = template_bytes.max(more.div_ceil(roles.len() - PLAINEST.len()));
    }
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(LanguageTerms {
        context_length: number(model.config().context_length),
        template_bytes: number(template_bytes),
    })
}

/// Load a language model from the two blobs of its manifest, and hold it to what the manifest says.
///
/// # Errors
/// In words.
pub fn load_language<A: ReadAt, B: ReadAt>(
    engine: &Engine,
    manifest: &ModelManifest,
    (graph, weights): (A, B),
    limits: &Limits,
) -> Result<TextModel, String> {
    let model =
        TextModel::load(engine, &Joined(graph, weights), limits).map_err(|error| error.to_string())?;
    check_manifest(manifest, &model).map(|()| model)
}

/// What a call is charged by is in the manifest; it must be what the model says.
///
/// # Errors
/// What was expected, and what was got.
pub fn check_manifest(manifest: &ModelManifest, model: &TextModel) -> Result<(), String> {
    let claimed = (manifest.macs_per_row, manifest.row_elements, manifest.batched, manifest.language);
    let terms = terms_of(model).map_err(|error| error.to_string())?;
    let found = (model.macs_per_token(), 1, false, Some(terms));
    if claimed == found {
        return Ok(());
    }
    Err(format!("expected the cost and terms that it has {found:?}, its manifest says {claimed:?}"))
}
