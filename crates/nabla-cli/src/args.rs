//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use nabla_types::{Address, NetworkId, Opg, ReceiptId, RepoName, receipt::Salt};

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
    /// Publish a folder that holds one .onnx file.
    #[command(after_help = "Example:\n  nabla push ./models/digits alice/digits --royalty 0.0002")]
    Push {
        /// The folder.
        folder: PathBuf,
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
