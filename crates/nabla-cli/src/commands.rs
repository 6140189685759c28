//! One module for each command: read the arguments, make the calls, print.

mod chat;
mod completions;
mod dev;
mod doctor;
mod model;
mod models;
mod network;
mod push;
mod receipts;
mod run;
pub(crate) mod verify;
mod wallet;

use anyhow::Result;

use crate::{
    args::{Args, Command, NetworkCommand, NodeCommand},
    demo,
    home::Home,
    output::Output,
};

/// What every command gets.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) home: Home,
    pub(crate) url: String,
    pub(crate) output: &'a Output,
}

/// Run the command that was typed.
pub(crate) async fn run(args: Args, output: &Output) -> Result<()> {
    let context = Context { home: Home::new(args.home)?, url: args.url, output };
    match args.command {
        Command::Demo => Box::pin(demo::run(*output)).await,
        Command::Dev { reset, port } => Box::pin(dev::dev(&context, reset, port)).await,
        Command::Push { path, name, royalty, summary, code } => {
            Box::pin(push::push(&context, push::Push { path, name, royalty, summary, code })).await
        }
        Command::Search { query, limit } => models::search(&context, &query, limit).await,
        Command::Show { name } => models::show(&context, &name).await,
        Command::Pull { name, folder } => models::pull(&context, &name, folder).await,
        Command::Run { name, input, max_price } => {
            Box::pin(run::run(&context, &name, &input, max_price)).await
        }
        Command::Chat { name, prompt, system, max_tokens, temperature, seed, max_price: price_max } => {
            let chat = chat::Chat { name, prompt, system, max_tokens, temperature, seed, price_max };
            Box::pin(chat::chat(&context, chat)).await
        }
        Command::Model(command) => model::model(&context, command),
        Command::Verify { receipt, request, response, salt, payer, network, proof, replay } => {
            let files = verify::Files { receipt, request, response, salt, payer, network, proof };
            Box::pin(verify::verify(&context, files, replay)).await
        }
        Command::Receipts { id: None } => receipts::list(&context),
        Command::Receipts { id: Some(id) } => receipts::show(&context, id).await,
        Command::Wallet(command) => wallet::wallet(&context, command).await,
        Command::Network(NetworkCommand::Init { folder, port, name }) => {
            network::init(&context, &folder, port, name)
        }
        Command::Node(NodeCommand::Start { config }) => Box::pin(network::start(&context, &config)).await,
        Command::Doctor => doctor::doctor(&context).await,
        Command::Completions { shell } => completions::completions(&context, shell),
    }
}
