//! Whether a genesis makes sense.

use std::collections::BTreeSet;

use nabla_pay::{OPG_ADDRESS, quote::BASIS_POINTS};
use nabla_types::{Address, Opg, cbor, chain::Genesis};

/// Longest name of a network, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest life of a reservation: 30 days, in milliseconds.
const RESERVATION_TTL_MS_MAX: u64 = 30 * 24 * 3600 * 1000;

/// Why a genesis is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Another format, perhaps of a later version.
    #[error("genesis: expected the format {:?}, got {got:?}", Genesis::FORMAT)]
    Format {
        /// What it says.
        got: String,
    },
    /// Over [`Genesis::BYTES_MAX`].
    #[error("genesis of {got} bytes, at most {} are accepted", Genesis::BYTES_MAX)]
    Size {
        /// Its encoded length.
        got: usize,
    },
    /// Empty or too long.
    #[error("genesis: expected a network name of 1 to {NAME_BYTES_MAX} bytes, got {got}")]
    Name {
        /// Its length in bytes.
        got: usize,
    },
    /// More than everything is burned.
    #[error("genesis: expected a fee of at most {BASIS_POINTS} basis points, got {got}")]
    Fee {
        /// The fee.
        got: u32,
    },
    /// Reservations that end at once or never.
    #[error("genesis: expected reservations of 1 to {RESERVATION_TTL_MS_MAX} ms, got {got}")]
    ReservationTtl {
        /// The life, in milliseconds.
        got: u64,
    },
    /// An allocation or a faucet without an owner.
    #[error("genesis: account {account} belongs to nobody and can be neither funded nor the faucet")]
    Account {
        /// Whose.
        account: Address,
    },
    /// The same account twice.
    #[error("genesis: account {account} is funded twice")]
    Twice {
        /// Whose.
        account: Address,
    },
    /// The supply passes 2^128.
    #[error("genesis: the allocations pass 2^128 units")]
    Supply,
}

/// Accounts that nobody has the key of: the zero address, escrow, stake, the token, and payees of calls.
pub(crate) fn has_no_owner(account: &Address) -> bool {
    account.is_call_payee()
        || [Address([0; 20]), Address::ESCROW, Address::STAKE, OPG_ADDRESS].contains(account)
}

/// The whole supply, if everything in `genesis` is within its limits.
pub(crate) fn check(genesis: &Genesis) -> Result<Opg, GenesisError> {
    if genesis.format != Genesis::FORMAT {
        return Err(GenesisError::Format { got: genesis.format.chars().take(80).collect() });
    }
    let size = cbor::encode(genesis).len();
    if size > Genesis::BYTES_MAX {
        return Err(GenesisError::Size { got: size });
    }
    if genesis.name.is_empty() || genesis.name.len() > NAME_BYTES_MAX {
        return Err(GenesisError::Name { got: genesis.name.len() });
    }
    if genesis.fee_basis_points > BASIS_POINTS {
        return Err(GenesisError::Fee { got: genesis.fee_basis_points });
    }
    if !(1..=RESERVATION_TTL_MS_MAX).contains(&genesis.reservation_ttl_ms) {
        return Err(GenesisError::ReservationTtl { got: genesis.reservation_ttl_ms });
    }
    match genesis.faucet {
        Some(account) if has_no_owner(&account) => Err(GenesisError::Account { account }),
        _ => supply(genesis),
    }
}

fn supply(genesis: &Genesis) -> Result<Opg, GenesisError> {
    let (mut supply, mut seen) = (Opg::ZERO, BTreeSet::new());
    for allocation in &genesis.allocations {
        let account = allocation.account;
        if has_no_owner(&account) {
            return Err(GenesisError::Account { account });
        }
        if !seen.insert(account) {
            return Err(GenesisError::Twice { account });
        }
        supply = supply.checked_add(allocation.amount).ok_or(GenesisError::Supply)?;
    }
    Ok(supply)
}
