//! A token's logits are the same bits on every build, on any number of threads, in any batch, however a text is cut.

use super::*;
use crate::kernels::math::tests::bits;
use crate::language::{Context, LanguageModel};
use crate::{Engine, Kernels, Limits};

/// Small models of three families: interleaved rotation; biases; windows, head norms, post norms and tied weights.
const MODELS: [&[u8]; 3] = [
    include_bytes!("../../../tests/gguf/llama.gguf"),
    include_bytes!("../../../tests/gguf/qwen2.gguf"),
    include_bytes!("../../../tests/gguf/gemma3.gguf"),
];

fn load(bytes: &[u8], kernels: Kernels, threads: usize) -> Option<LanguageModel> {
    let engine = Engine::with_threads(kernels, threads).ok()?;
    Some(LanguageModel::load(&engine, &bytes.to_vec(), &Limits::default()).unwrap())
}

/// Some tokens of a model.
fn tokens(model: &LanguageModel, count: usize) -> Vec<u32> {
    let vocabulary = u32::try_from(model.config().vocabulary_size).unwrap();
    (0..u32::try_from(count).unwrap()).map(|index| index * index * 7 % vocabulary).collect()
}

fn room(model: &LanguageModel) -> usize {
    model.config().context_length.min(45)
}

fn context(model: &LanguageModel) -> Context {
    model.context(room(model), &Limits::default()).unwrap()
}

/// Logits of every token, the text cut in pieces of this length.
fn logits(model: &LanguageModel, tokens: &[u32], piece: usize) -> Vec<u32> {
    let mut context = context(model);
    tokens.chunks(piece).flat_map(|piece| bits(&context.feed(piece, piece.len()).unwrap())).collect()
}

#[test]
fn logits_are_the_same_bits_on_every_build_and_for_every_cut() {
    for bytes in MODELS {
        let scalar = load(bytes, Kernels::Scalar, 1).unwrap();
        let text = tokens(&scalar, room(&scalar));
        let expected = logits(&scalar, &text, text.len());
        assert!(expected.iter().all(|bits| f32::from_bits(*bits).is_finite()));
        for kernels in [Kernels::Scalar, Kernels::Avx2, Kernels::Avx512, Kernels::Neon] {
            for (threads, piece) in [(1, text.len()), (1, 1), (2, 7), (3, 16)] {
                let Some(model) = load(bytes, kernels, threads) else { continue };
                let what = format!(
                    "{:?} {kernels}, {threads} threads, pieces of {piece}",
                    model.config().architecture
                );
                assert!(logits(&model, &text, piece) == expected, "{what}");
            }
        }
    }
}

/// Two sequences in one step, one of them in the middle of its text.
#[test]
fn sequences_in_one_step_do_not_see_each_other() {
    for bytes in MODELS {
        let model = load(bytes, Kernels::Auto, 2).unwrap();
        let text = tokens(&model, 24);
        let alone = logits(&model, &text, text.len());
        let decoder = &*model.0;
        let mut pages = Pages::new(&decoder.config, 6);
        let mut positions = Positions::new(&decoder.config, &decoder.weights);
        let (mut first, mut second) = (Sequence::default(), Sequence::default());
        assert!(pages.grow(&mut first, 5) && pages.grow(&mut second, 24));
        let mut step = |chunks: &mut [Chunk<'_>], pages: &mut Pages| {
            bits(&decoder.step(pages, &mut positions, chunks).unwrap())
        };
        step(&mut [Chunk { sequence: &mut first, tokens: &text[..5], wanted: 0 }], &mut pages);
        assert!(pages.grow(&mut first, 1));
        let both = step(
            &mut [
                Chunk { sequence: &mut first, tokens: &text[5..6], wanted: 1 },
                Chunk { sequence: &mut second, tokens: &text, wanted: 2 },
            ],
            &mut pages,
        );
        let vocabulary = decoder.config.vocabulary_size;
        assert_eq!(both[..vocabulary], alone[5 * vocabulary..6 * vocabulary]);
        assert_eq!(both[vocabulary..], alone[22 * vocabulary..]);
        assert_eq!((first.tokens, second.tokens), (6, 24));
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let model = load(MODELS[0], Kernels::Auto, 1).unwrap();
    let mut context = context(&model);
    let vocabulary = u32::try_from(model.config().vocabulary_size).unwrap();
    let error = context.feed(&[1, vocabulary], 1).unwrap_err().to_string();
    assert!(error.contains(&format!("token {vocabulary} is not one of")), "{error}");
    assert!(context.feed(&vec![1; room(&model) + 1], 1).is_err());
    assert_eq!(context.tokens(), 0);
    assert!(model.context(model.config().context_length + 1, &Limits::default()).is_err());
    assert!(model.context(1, &Limits { peak_bytes_max: 1, ..Limits::default() }).is_err());
}
