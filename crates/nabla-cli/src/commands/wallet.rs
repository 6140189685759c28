//! `nabla wallet`: the account that pays.

use anyhow::Result;
use nabla_pay::{AccountKey, eip712::sign_authorization};
use nabla_types::{
    Address, Opg,
    chain::Tx,
    payment::{Authorization, Nonce},
};
use serde_json::json;

use super::Context;
use crate::{
    args::WalletCommand,
    failure::Failure,
    home::{Network, now_s},
};

/// How long a transfer's authorisation is good, in seconds.
const TRANSFER_LIFE_S: u64 = 600;

pub(super) async fn wallet(context: &Context<'_>, command: WalletCommand) -> Result<()> {
    match command {
        WalletCommand::New => new(context),
        WalletCommand::Balance { account } => balance(context, account).await,
        WalletCommand::Fund => fund(context).await,
        WalletCommand::Send { to, amount } => send(context, to, amount).await,
    }
}

fn new(context: &Context<'_>) -> Result<()> {
    let path = context.home.wallet_file();
    if path.exists() {
        let account = context.home.wallet()?.address();
        let reason = format!("there is a wallet already, of account {account}");
        let hint = Some(format!("it stands in {}; move it away to make another", path.display()));
        return Err(Failure::BadArgument { reason, hint }.into());
    }
    let account = context.home.wallet_or_new()?.address();
    context
        .output
        .line(format!("account  {account}\nkey      {} (keep it secret, keep a copy)", path.display()));
    context.output.line("next     nabla wallet fund");
    context.output.document(&json!({ "account": account, "key_file": path }));
    Ok(())
}

async fn balance(context: &Context<'_>, account: Option<Address>) -> Result<()> {
    let account = account.map_or_else(|| context.home.wallet().map(|key| key.address()), Ok)?;
    let network = Network::connect(&context.url).await?;
    print_balance(context, &network, account).await
}

async fn print_balance(context: &Context<'_>, network: &Network, account: Address) -> Result<()> {
    let balances = network.ledger.account(account).await?;
    context.output.line(format!("account    {account}"));
    context
        .output
        .line(format!("purchased  {} OPG\ngranted    {} OPG", balances.purchased, balances.granted));
    context.output.document(
        &json!({ "account": account, "purchased": balances.purchased, "granted": balances.granted }),
    );
    Ok(())
}

async fn fund(context: &Context<'_>) -> Result<()> {
    let account = context.home.wallet()?.address();
    let network = Network::connect(&context.url).await?;
    let given = network.ledger.faucet(account).await?;
    context.output.line(format!("received   {given} OPG from the faucet"));
    print_balance(context, &network, account).await
}

async fn send(context: &Context<'_>, to: Address, amount: Opg) -> Result<()> {
    let key = context.home.wallet()?;
    let network = Network::connect(&context.url).await?;
    let included = network.ledger.submit(&transfer(&key, network.info.chain_id, to, amount)?).await?;
    context.output.line(format!("sent       {amount} OPG to {to} in block {}", included.height));
    context
        .output
        .document(&json!({ "to": to, "amount": amount, "tx": included.tx, "height": included.height }));
    Ok(())
}

fn transfer(key: &AccountKey, chain_id: u64, to: Address, value: Opg) -> Result<Tx> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    let authorization = Authorization {
        from: key.address(),
        to,
        value,
        valid_after: 0,
        valid_before: now_s() + TRANSFER_LIFE_S,
        nonce: Nonce(nonce),
    };
    Ok(Tx::Transfer(sign_authorization(key, chain_id, authorization)))
}
