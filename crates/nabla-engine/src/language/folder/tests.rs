//! Small folders (`tests/safetensors/make.py`) against the GGUF files that they are, and broken ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::*;
use crate::gguf::Canonical;
use crate::language::{Counts, Generation, LanguageModel, Sampling, TextModel, generate};
use crate::{Engine, Folder, Kernels};

const NAMES: [&str; 8] = ["llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "phi3"];

type InMemory = BTreeMap<String, Arc<[u8]>>;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/safetensors").join(name)
}

fn imported(name: &str) -> Joined<Vec<u8>, Vec<u8>> {
    import_folder(&Folder::new(path(name)).unwrap(), &Limits::default()).unwrap()
}

fn twin(name: &str) -> Vec<u8> {
    std::fs::read(path(&format!("{name}.gguf"))).unwrap()
}

/// The files of a folder, to be broken.
fn files(name: &str) -> InMemory {
    let entries = std::fs::read_dir(path(name)).unwrap().map(Result::unwrap);
    let file = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap().into())
    };
    entries.map(file).collect()
}

/// Bits of logits after each of some tokens: more of them than a window has, and some that only the embedding has.
fn logits(source: &dyn ReadAt) -> Vec<u32> {
    let engine = Engine::with_threads(Kernels::Scalar, 1).unwrap();
    let model = LanguageModel::load(&engine, source, &Limits::default()).unwrap();
    let tokens = [5, 0, 4, 3, 2, 1, 6, 4, 15, 8, 0, 0];
    let mut context = model.context(tokens.len(), &Limits::default()).unwrap();
    context.feed(&tokens, tokens.len()).unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_folder_is_the_gguf_file_that_llama_cpp_makes_of_it() {
    for name in NAMES {
        let (folder, twin) = (imported(name), twin(name));
        let [ours, theirs] = [Gguf::open(&folder).unwrap(), Gguf::open(&twin).unwrap()];
        let config = |gguf: &Gguf| Config::from_metadata(&gguf.metadata).unwrap();
        assert_eq!(config(&ours), config(&theirs), "{name}");
        assert_eq!(ours.tensors.len(), theirs.tensors.len(), "{name}");
        for tensor in theirs.tensors.iter() {
            let mine = ours.tensors.require(&tensor.name).unwrap();
            assert_eq!((mine.shape, mine.format), (tensor.shape, tensor.format), "{name} {}", tensor.name);
            let limits = Limits::default();
            let [mine, tensor] = [mine.read(&folder, &limits), tensor.read(&twin, &limits)];
            assert_eq!(mine.unwrap(), tensor.unwrap(), "{name}");
        }
        assert_eq!(logits(&folder), logits(&twin), "{name}");
    }
}

#[test]
fn what_comes_out_is_its_own_canonical_form() {
    for name in NAMES {
        let folder = imported(name);
        let canonical = Canonical::of(&Gguf::open(&folder).unwrap()).unwrap();
        assert_eq!(canonical.header(), folder.0, "{name}");
        assert_eq!(canonical.data(&folder, &Limits::default()).unwrap(), folder.1, "{name}");
    }
}

/// The rules are not idle: without each of them these models answer something else.
#[test]
fn every_rule_counts() {
    for (name, file, from, to) in [
        ("llama", "config.json", "\"factor\": 8.0", "\"factor\": 2.0"),
        ("mistral", "config.json", "\"sliding_window\": 4", "\"sliding_window\": 5"),
        ("qwen2", "config.json", "\"factor\": 4.0", "\"factor\": 2.0"),
        ("qwen3", "config.json", "\"factor\": 2.0", "\"factor\": 4.0"),
        ("gemma2", "config.json", "\"query_pre_attn_scalar\": 6", "\"query_pre_attn_scalar\": 8"),
        ("gemma2", "config.json", "\"final_logit_softcapping\": 3.0", "\"final_logit_softcapping\": null"),
        ("gemma3", "config.json", "\"rope_local_base_freq\": 10000.0", "\"rope_local_base_freq\": 50.0"),
        ("gemma3", "config.json", "\"layer_types\"", "\"sliding_window_pattern\": 1, \"_\""),
        ("phi3", "config.json", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 1.0"),
    ] {
        let files = edited(name, file, from, to);
        let other = import_folder(&files, &Limits::default()).unwrap();
        assert_ne!(logits(&other), logits(&twin(name)), "{name}: {from}");
    }
    // Mistral's rows without a permutation, Gemma's norms without the one.
    let folder = Gguf::open(&imported("mistral")).unwrap();
    let raw = files("mistral");
    let header = Safetensors::open("raw", &raw["model.safetensors"]).unwrap();
    let place = header.get("model.layers.0.self_attn.q_proj.weight").unwrap().range.start;
    let mine = folder.tensors.require("blk.0.attn_q.weight").unwrap();
    let mine = mine.read(&imported("mistral"), &Limits::default()).unwrap();
    let mut theirs = vec![0; mine.len()];
    raw["model.safetensors"].read_at(place, &mut theirs).unwrap();
    assert_ne!(mine, theirs);
    let row = 16 * 2;
    assert_eq!(mine[row..2 * row], theirs[4 * row..5 * row], "the first of the second half comes second");
}

/// Since its fifth version `transformers` writes one object, with another inside for each kind of blocks.
#[test]
fn rotations_in_their_newer_form_are_the_same() {
    let config = |name: &str, change: fn(&mut serde_json::Map<String, Value>)| {
        let mut files = files(name);
        let mut config = json::parse("config.json", &files["config.json"]).unwrap();
        change(&mut config);
        files.insert("config.json".to_owned(), serde_json::to_vec(&config).unwrap().into());
        logits(&import_folder(&files, &Limits::default()).unwrap())
    };
    let llama = config("llama", |config| {
        let mut parameters = config.remove("rope_scaling").unwrap();
        parameters["rope_theta"] = config.remove("rope_theta").unwrap();
        config.insert("rope_parameters".to_owned(), parameters);
    });
    assert_eq!(llama, logits(&twin("llama")));
    let gemma = config("gemma3", |config| {
        let mut full = config.remove("rope_scaling").unwrap();
        full["rope_theta"] = config.remove("rope_theta").unwrap();
        let local = config.remove("rope_local_base_freq").unwrap();
        let local = serde_json::json!({"rope_type": "default", "rope_theta": local});
        let both = serde_json::json!({"full_attention": full, "sliding_attention": local});
        config.insert("rope_parameters".to_owned(), both);
    });
    assert_eq!(gemma, logits(&twin("gemma3")));
    let phi = config("phi3", |config| {
        let part = config.remove("partial_rotary_factor").unwrap();
        config.insert("rope_parameters".to_owned(), serde_json::json!({"partial_rotary_factor": part}));
    });
    assert_eq!(phi, logits(&twin("phi3")));
}

/// A folder with a text of one file replaced.
fn edited(name: &str, file: &str, from: &str, to: &str) -> InMemory {
    let mut files = files(name);
    let text = String::from_utf8(files[file].to_vec()).unwrap();
    assert!(text.contains(from), "{name}: {from}");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes().into());
    files
}

fn text_model(source: &dyn ReadAt) -> TextModel {
    TextModel::load(&Engine::with_threads(Kernels::Scalar, 1).unwrap(), source, &Limits::default()).unwrap()
}

#[test]
fn a_folder_has_a_vocabulary_and_a_template() {
    let model = text_model(&imported("llama"));
    assert_eq!(model.vocabulary().len(), 8);
    assert_eq!(model.ends(), [6, 7]);
    assert_eq!(model.vocabulary().ids().eot, Some(7));
    let message = nabla_text::Message::new("user", "a ab");
    // <|im_start|>, "a", a line, "a", " ", "ab", <|im_end|>, a line, <|im_start|>, "b"; templates lose their last line end.
    assert_eq!(model.chat_prompt(&[message]).unwrap(), [5, 0, 4, 0, 2, 3, 6, 4, 5, 1]);
    let begun =
        edited("llama", "tokenizer_config.json", "\"add_bos_token\": false", "\"add_bos_token\": true");
    let model = text_model(&import_folder(&begun, &Limits::default()).unwrap());
    assert_eq!(model.text_prompt("ab").unwrap(), [5, 3], "the number of config.json, since no name is said");
    let mut own = files("llama");
    own.insert("chat_template.jinja".to_owned(), b"{{ messages[0].content }}a"[..].into());
    own.insert("generation_config.json".to_owned(), b"{\"eos_token_id\": [6, 5]}"[..].into());
    let model = text_model(&import_folder(&own, &Limits::default()).unwrap());
    assert_eq!(model.chat_prompt(&[nabla_text::Message::new("user", "b")]).unwrap(), [1, 0]);
    assert_eq!(model.vocabulary().ids().eot, Some(5));
}

/// The embedding has sixteen rows, the vocabulary eight tokens.
#[test]
fn a_token_that_the_vocabulary_does_not_have_is_never_chosen() {
    let model = text_model(&imported("qwen3"));
    assert_eq!(model.config().vocabulary_size, 16);
    let prompt = vec![5, 0, 4];
    for seed in 0..20 {
        let sampling = Sampling { temperature: 50.0, seed, ..Sampling::default() };
        let generation = Generation {
            sampling: sampling.clone(),
            top_logprobs: Some(20),
            ..Generation::of(prompt.clone(), 30)
        };
        let take = |piece: &crate::language::Piece| {
            assert!(piece.token < 8);
            let top = &piece.logprobs.as_ref().unwrap().top;
            assert!(top.len() == 8 && top.iter().all(|(token, _)| *token < 8), "{top:?}");
        };
        generate(&model, &generation, &Limits::default(), take).unwrap();
    }
    // A sampler that sees all logits would choose the others as well.
    let mut context = model.model().context(8, &Limits::default()).unwrap();
    let logits = context.feed(&prompt, 1).unwrap();
    let mut beyond = 0;
    for seed in 0..20 {
        let sampling = Sampling { temperature: 50.0, seed, ..Sampling::default() };
        let token = model.model().sample(&sampling, &mut logits.clone(), &Counts::default(), None, 3);
        beyond += u32::from(token >= Some(8));
    }
    assert!(beyond > 0);
}

/// Refused, by these words.
#[track_caller]
fn refuses(files: &InMemory, says: &str) {
    let text = import_folder(files, &Limits::default()).map(drop).expect_err(says).to_string();
    assert!(text.contains(says), "expected {says:?}, got {text:?}");
    assert!(text.len() < 700, "{text}");
}

#[test]
fn broken_configurations_are_refused_by_name() {
    for (from, to, says) in [
        ("{", "[", "config.json: expected an object"),
        ("\"LlamaForCausalLM\"", "\"LlamaForCausalLM\", \"B\"", "key \"architectures\": expected one class"),
        ("LlamaForCausalLM", "MambaForCausalLM", "model of class \"MambaForCausalLM\""),
        ("\"hidden_size\": 16", "\"hidden_size\": -16", "key \"hidden_size\": expected an integer"),
        ("\"hidden_size\": 16", "\"hidden_size\": 24", "token_embd.weight"),
        (
            "\"hidden_size\": 16",
            "\"x\": 16",
            "key \"hidden_size\": expected an integer from 0 to 2^32 - 1, got nothing",
        ),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "attention.head_count"),
        ("\"num_attention_heads\": 4", "\"num_attention_heads\": 3", "divides the 3 heads"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "blk.1."),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "blk.2.attn_norm.weight"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 4000000000", "llama.block_count"),
        ("\"vocab_size\": 16", "\"vocab_size\": 17", "token_embd.weight"),
        ("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e999", "config.json: expected an object"),
        (
            "\"rms_norm_eps\": 1e-05",
            "\"rms_norm_eps\": 1e99",
            "key \"rms_norm_eps\": expected a finite number",
        ),
        ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", "activation \"relu\""),
        ("\"hidden_act\"", "\"quantization_config\": {}, \"hidden_act\"", "\"quantization_config\""),
        ("\"rope_type\": \"llama3\"", "\"rope_type\": \"longrope\"", "scaling of positions \"longrope\""),
        (
            "\"high_freq_factor\": 4.0",
            "\"high_freq_factor\": 1.0",
            "\"high_freq_factor\": expected more than 1",
        ),
        ("\"factor\": 8.0", "\"factor\": 0.0", "\"factor\": expected a number above 0"),
        ("\"head_dim\": 8", "\"head_dim\": 0", "\"head_dim\": expected the size of a head above 0"),
        ("\"head_dim\": 8", "\"head_dim\": 4000000000", "\"rope_type\": expected heads of at most 1024"),
        ("\"head_dim\": 8", "\"partial_rotary_factor\": 7.5", "\"partial_rotary_factor\": expected a part"),
        ("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": 0", "expected a truth value, got 0"),
    ] {
        refuses(&edited("llama", "config.json", from, to), says);
    }
    refuses(
        &edited("qwen2", "config.json", "\"type\": \"yarn\"", "\"type\": \"yarn\", \"mscale\": 1"),
        "yarn with mscale",
    );
    let window =
        edited("qwen2", "config.json", "\"use_sliding_window\": false", "\"use_sliding_window\": true");
    refuses(&window, "window of attention in architecture qwen2");
    refuses(&edited("gemma", "config.json", "\"head_dim\": 8", "\"head_dim\": null"), "key \"head_dim\"");
    refuses(&edited("gemma3", "config.json", "\"full_attention\"", "\"x\""), "key \"layer_types\"");
    let untied =
        edited("qwen2", "config.json", "\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false");
    refuses(&untied, "\"lm_head.weight\": expected a tensor of this name");
    let deep = InMemory::from([("config.json".to_owned(), "[".repeat(100_000).into_bytes().into())]);
    refuses(&deep, "recursion limit");
}

#[test]
fn broken_files_are_refused_by_name() {
    for (name, says) in [
        ("config.json", "config.json: expected a file"),
        ("tokenizer.json", "tokenizer.json: expected a file"),
        ("model.safetensors.index.json", "model.safetensors: expected a file"),
        ("model-00002-of-00002.safetensors", "\"model-00002-of-00002.safetensors\": expected a file"),
    ] {
        let mut files = files("llama");
        files.remove(name);
        refuses(&files, says);
    }
    let index = |from, to| edited("llama", "model.safetensors.index.json", from, to);
    refuses(&index("\"weight_map\"", "\"x\""), "an object \"weight_map\"");
    refuses(
        &index("\"lm_head.weight\"", "\"lm_head.bias\""),
        "\"lm_head.bias\": expected a tensor, which the index",
    );
    refuses(
        &index("\"lm_head.weight\": \"model-00001", "\"lm_head.weight\": \"model-00002"),
        "lm_head.weight",
    );
    refuses(&index("\"lm_head.weight\": \"", "\"lm_head.weight\": \"../"), "the index names it");
    let mut cut = files("qwen2");
    let weights = cut["model.safetensors"].clone();
    cut.insert("model.safetensors".to_owned(), weights[..weights.len() - 1].into());
    refuses(&cut, "inside of the");
    let mut rewritten = |from: &str, to: &str| {
        let at = weights.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let bytes = [&weights[..at], to.as_bytes(), &weights[at + from.len()..]].concat();
        cut.insert("model.safetensors".to_owned(), bytes.into());
        cut.clone()
    };
    refuses(
        &rewritten("layers.1.mlp.up_proj", "layers.1.mlp.xx_proj"),
        "does not use: \"model.layers.1.mlp.xx_proj",
    );
    refuses(&rewritten("layers.1.mlp.up_proj", "layers.01.mlp.u_proj"), "does not use: \"model.layers.01");
    refuses(&rewritten("[16,16]", "[256,1]"), "token_embd.weight");
    refuses(&rewritten("model.layers.1.mlp.gate_proj", "model.layers.1.mlp.gate_up_p"), "gate_up_p");
    let limits = Limits { weight_bytes_max: 1000, ..Limits::default() };
    let error = import_folder(&files("qwen2"), &limits).map(drop).unwrap_err().to_string();
    assert!(error.contains("bytes of all weights"), "{error}");
    refuses(&edited("llama", "tokenizer.json", "\"BPE\"", "\"Unigram\""), "model \"Unigram\"");
    refuses(
        &edited("llama", "tokenizer_config.json", "\"add_bos_token\": false", "\"add_bos_token\": 1"),
        "add_bos",
    );
}

#[test]
fn a_folder_gives_its_own_files_only() {
    let folder = Folder::new(path("llama")).unwrap();
    assert!(folder.open("nothing").unwrap().is_none());
    for name in ["../qwen2.gguf", "/etc/hosts", "", "a\\b", "."] {
        let error = folder.open(name).map(drop).expect_err(name).to_string();
        assert!(error.contains("is refused"), "{error}");
    }
    assert_eq!(
        folder.open("config.json").unwrap().unwrap().size_bytes(),
        files("llama")["config.json"].len() as u64
    );
}
