//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use nabla_engine::Kernels;
use nabla_types::{Address, NetworkId, Opg, ReceiptId, RepoName, chat::Micros, receipt::Salt};

/// Publish a model, let anyone run it, and check every answer yourself.
#[derive(Debug, Parser)]
#[command(name = "nabla", version, max_term_width = 100, after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on stderr (-v, -vv).
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// The gateway to talk to.
    #[arg(
        long,
        global = true,
        env = "NABLA_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:11400"
    )]
    pub(crate) url: String,
    /// Folder for wallet, receipts and the development network [default: ~/.local/share/nabla].
    #[arg(long, global = true, env = "NABLA_HOME", value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Try it, with no account and no network:
  nabla demo                                  the whole story in half a minute
  nabla dev                                   a network on this machine that stays up
  nabla run nabla/digits --input image.json   pay for a call and check the answer

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 bad input, 4 not found, 5 payment refused,
6 network unreachable, 7 verification failed";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole network at work, from publishing a model to catching three frauds.
    Demo,
    /// Run a development network on this machine until Ctrl-C; its state stays for the next time.
    Dev {
        /// Wipe what an earlier run left.
        #[arg(long)]
        reset: bool,
        /// The first of ten ports; the gateway listens on it.
        #[arg(long, default_value_t = 11_400, value_parser = clap::value_parser!(u16).range(1..=65_526))]
        port: u16,
    },
    /// Publish a folder that holds one .onnx or one .gguf file, or a .gguf file alone.
    #[command(after_help = "\
Examples:
  nabla push ./models/digits alice/digits --royalty 0.0002
  nabla push ./models/fabula/model.gguf alice/fabula")]
    Push {
        /// The folder, or the .gguf file.
        path: PathBuf,
        /// Under which name: owner/name.
        name: RepoName,
        /// Paid to you for each call, in OPG.
        #[arg(long, default_value = "0", value_name = "OPG")]
        royalty: Opg,
        /// One line about the model [default: the first line of README.md].
        #[arg(long)]
        summary: Option<String>,
        /// How many shards rebuild a file, of how many that are made.
        #[arg(long, default_value = "3/5", value_name = "K/N")]
        code: String,
    },
    /// List models whose name or summary contains the words.
    Search {
        /// What to look for; everything if left out.
        #[arg(default_value = "")]
        query: String,
        /// Most models listed.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show a model: its id, owner, price, files and revisions.
    Show {
        /// owner/name.
        name: RepoName,
    },
    /// Download a model's files, every byte checked.
    Pull {
        /// owner/name.
        name: RepoName,
        /// Where to [default: a new folder of the model's name].
        folder: Option<PathBuf>,
    },
    /// Run a model: pay for the call, check the receipt, print the answer.
    #[command(after_help = "\
Example:
  nabla run nabla/digits --input models/digits/examples/one.json
The input has the shape of the Open Inference Protocol:
  {\"inputs\": [{\"name\": \"image\", \"shape\": [1,1,8,8], \"datatype\": \"FP32\", \"data\": [...]}]}")]
    Run {
        /// owner/name.
        name: RepoName,
        /// File with the inputs, or - for standard input.
        #[arg(long, short)]
        input: PathBuf,
        /// Refuse to pay more than this, in OPG.
        #[arg(long, value_name = "OPG", default_value = "1")]
        max_price: Opg,
    },
    /// Talk with a language model: each answer is paid for, shown while it is made, and checked.
    #[command(after_help = "\
Examples:
  nabla chat alice/fabula \"Tell me a story about a fox\"
  nabla chat alice/fabula --temperature 0.8 --max-tokens 200
Without a prompt, each line of standard input is one turn of a conversation.")]
    Chat {
        /// owner/name.
        name: RepoName,
        /// What to say.
        prompt: Option<String>,
        /// Instructions that the model gets before anything else.
        #[arg(long, value_name = "TEXT")]
        system: Option<String>,
        /// Most tokens of an answer [default: 256].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        max_tokens: Option<u32>,
        /// 0 for the likeliest token always, up to 2 for surprises [default: 1].
        #[arg(long, value_name = "T", value_parser = decimal)]
        temperature: Option<Micros>,
        /// What chance comes from; the same seed gives the same answer [default: a new one each time].
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
        /// Refuse to pay more than this for an answer, in OPG. What is not used of a price comes back.
        #[arg(long, value_name = "OPG", default_value = "1")]
        max_price: Opg,
    },
    /// Check, run and measure a model's file on this machine: no network, no wallet.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Check a receipt, offline unless --replay is given.
    #[command(after_help = "\
Example:
  nabla verify receipt.cbor --request request.json --response response.json
Files named request.json, response.json, salt and inclusion.cbor beside the receipt are used unless
others are named. Without a network, any network's receipt is taken.")]
    Verify {
        /// The receipt's file.
        receipt: PathBuf,
        /// The request that was sent, byte for byte.
        #[arg(long)]
        request: Option<PathBuf>,
        /// The response that came back, byte for byte.
        #[arg(long)]
        response: Option<PathBuf>,
        /// The salt that opens the receipt's commitments.
        #[arg(long)]
        salt: Option<Salt>,
        /// Who paid.
        #[arg(long, value_name = "ADDRESS")]
        payer: Option<Address>,
        /// The network that it must belong to [default: for one's own receipts, the one that was called].
        #[arg(long, value_name = "ID")]
        network: Option<NetworkId>,
        /// An inclusion proof.
        #[arg(long, value_name = "FILE")]
        proof: Option<PathBuf>,
        /// Fetch the model, run it here on the same request, and compare bit for bit.
        #[arg(long)]
        replay: bool,
    },
    /// The receipts of the calls that were made here.
    Receipts {
        /// Show this one, with its state on the ledger.
        id: Option<ReceiptId>,
    },
    /// Your account.
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Lay out a network of separate processes.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Run a node.
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look for what is wrong with this machine's setup and with the network.
    Doctor,
    /// Print shell completions.
    #[command(
        after_help = "Example:\n  nabla completions bash > ~/.local/share/bash-completion/completions/nabla"
    )]
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Say whether a model can be served, what it takes and gives, and what it costs.
    #[command(after_help = "\
Examples:
  nabla model check models/digits/model.onnx
  nabla model check bert.onnx --dim sequence=128 --json
Exit code 0 if it can be served, 3 if not: then every operator that is not supported is listed.")]
    Check {
        /// The .onnx file; external data are read from its folder.
        file: PathBuf,
        /// Greatest size of an open dimension [default: what the model bears, up to 512].
        #[arg(long, value_name = "NAME=MAX", value_parser = named_size)]
        dim: Vec<NamedSize>,
    },
    /// Run a model and print its outputs with their digest, which is the same on every machine.
    #[command(after_help = "\
Examples:
  nabla model run models/digits/model.onnx --input models/digits/examples/one.json
  nabla model run model.onnx --input - --json < inputs.json
  nabla model run models/fabula/model.gguf --prompt \"Once upon a time\"
  nabla model run models/fabula/model.gguf --chat --prompt \"Tell me a story\" --temperature 0.8 --seed 7
  nabla model run models/painter --prompt \"a red circle above a blue square\" --seed 7 --out circle.png
The input of an .onnx file has the shape of the Open Inference Protocol:
  {\"inputs\": [{\"name\": \"image\", \"shape\": [1,1,8,8], \"datatype\": \"FP32\", \"data\": [...]}]}")]
    Run {
        /// The .onnx file (external data are read from its folder), the .gguf file, or an image pipeline's folder.
        file: PathBuf,
        /// File with the inputs of an .onnx file, or - for standard input.
        #[arg(long, short)]
        input: Option<PathBuf>,
        #[command(flatten)]
        text: TextArgs,
        #[command(flatten)]
        picture: PictureArgs,
        #[command(flatten)]
        engine: EngineArgs,
        /// Greatest size of an open dimension [default: what the model bears, up to 512].
        #[arg(long, value_name = "NAME=MAX", value_parser = named_size)]
        dim: Vec<NamedSize>,
    },
    /// Measure how fast a model runs here: medians of wall and CPU time, rows and operations a second.
    #[command(after_help = "\
Examples:
  nabla model bench models/digits/model.onnx --batch 64
  nabla model bench bert.onnx --dim sequence=128 --threads 1 --kernels scalar
  nabla model bench model.gguf --batch 8 --prompt-tokens 128
Without --input, inputs are drawn from a fixed seed: floats from -1 to 1, bytes of any value,
other integers 0 or 1.")]
    Bench {
        /// The .onnx file (external data are read from its folder) or the .gguf file.
        file: PathBuf,
        /// File with the inputs of an .onnx file, or - for standard input.
        #[arg(long, short, conflicts_with_all = ["batch", "dim"])]
        input: Option<PathBuf>,
        /// Tokens of the prompt, for a .gguf file [default: 128].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        prompt_tokens: Option<u32>,
        /// Rows of a run, or answers at once [default: 1].
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        batch: Option<u64>,
        #[command(flatten)]
        engine: EngineArgs,
        /// Size of an open dimension [default: what the model bears, up to 512].
        #[arg(long, value_name = "NAME=SIZE", value_parser = named_size)]
        dim: Vec<NamedSize>,
    },
}

/// What is asked of a language model.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TextArgs {
    /// Text that a .gguf file goes on with, or what an image pipeline paints.
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["input", "dim"])]
    pub(crate) prompt: Option<String>,
    /// Take the prompt as a message, and put it into the model's chat template.
    #[arg(long, requires = "prompt")]
    pub(crate) chat: bool,
    /// What the model is told before the message.
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub(crate) system: Option<String>,
    /// Most tokens of the answer.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// 0: always the likeliest token; 1: by chance, as likely as the model says.
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// What chance is drawn from: the same seed gives the same answer, on every machine.
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Only the likeliest tokens that reach this part of all.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Only so many of the likeliest tokens; 0: all.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub(crate) top_k: u32,
    /// Only tokens at least this likely, as a part of the likeliest.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    pub(crate) min_p: f32,
    /// Above 1: tokens that were there already are less likely.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) repetition_penalty: f32,
    /// A text that ends the answer; may be given several times.
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
    /// A file with a JSON schema that the answer obeys.
    #[arg(long, value_name = "FILE")]
    pub(crate) schema: Option<PathBuf>,
    /// Tokens of the prompt that are run at a time; it changes speed, never bits.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) prefill_chunk: u32,
}

/// What is asked of an image pipeline, beside prompt and seed.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PictureArgs {
    /// Where the picture goes, as PNG.
    #[arg(long, short, value_name = "FILE", requires = "prompt")]
    pub(crate) out: Option<PathBuf>,
    /// Steps of an image pipeline [default: the pipeline's own].
    #[arg(long, value_name = "N", requires = "prompt")]
    pub(crate) steps: Option<u32>,
    /// How closely a picture follows its prompt [default: the pipeline's own].
    #[arg(long, value_name = "X", requires = "prompt")]
    pub(crate) guidance: Option<f32>,
    /// What a picture should not show.
    #[arg(long, value_name = "TEXT", requires = "prompt")]
    pub(crate) negative: Option<String>,
}

/// How models are run here.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineArgs {
    /// Build of the kernels: auto, scalar, avx2, avx512 or neon. It changes speed, never bits.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = nabla_node::config::kernels)]
    pub(crate) kernels: Kernels,
    /// Threads; their number changes speed, never bits [default: as many as the machine has].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,
}

/// An open dimension and a size for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedSize {
    pub(crate) name: String,
    pub(crate) size: u64,
}

/// Read a decimal number.
fn decimal(text: &str) -> Result<Micros, String> {
    let number = text.parse().ok().and_then(Micros::of);
    number.ok_or_else(|| "expected a number such as 0.7".to_owned())
}

/// Read `NAME=SIZE`. A name may hold `=`.
fn named_size(text: &str) -> Result<NamedSize, String> {
    let parsed = text.rsplit_once('=').and_then(|(name, size)| Some((name, size.parse::<u64>().ok()?)));
    match parsed {
        Some((name, size)) if !name.is_empty() && size > 0 => Ok(NamedSize { name: name.to_owned(), size }),
        _ => Err("expected a name and a size of at least 1, such as sequence=128".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Make an account.
    New,
    /// Show what an account holds.
    Balance {
        /// Whose [default: yours].
        account: Option<Address>,
    },
    /// Ask the network's faucet for OPG (development networks only).
    Fund,
    /// Send OPG.
    Send {
        /// To whom.
        to: Address,
        /// How much, in OPG.
        amount: Opg,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// Write genesis, keys and one configuration file for each of ten nodes.
    Init {
        /// Where to.
        folder: PathBuf,
        /// The first of ten ports.
        #[arg(long, default_value_t = 11_400, value_parser = clap::value_parser!(u16).range(1..=65_526))]
        port: u16,
        /// The network's name.
        #[arg(long, default_value = "nabla-local")]
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Start the roles that a configuration file names, until Ctrl-C.
    Start {
        /// The configuration file.
        #[arg(long, short)]
        config: PathBuf,
    },
}
