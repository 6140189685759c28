//! Laying out a new network: genesis, keys and one configuration file for each node.
//!
//! The same files serve `nabla dev` (all nodes in one process) and a network of separate processes or
//! machines: only the addresses in them differ.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use nabla_types::{
    Opg, cbor,
    chain::{Allocation, Genesis, Role},
};

use crate::{
    Error,
    config::{
        Config, EngineConfig, GatewayConfig, InferenceConfig, StorageConfig, ValidatorConfig, VerifierConfig,
    },
    files::{account_key, node_key, write_new},
};

/// Name of the genesis file.
pub const GENESIS_FILE: &str = "genesis.cbor";
/// Name of each node's configuration file.
pub const CONFIG_FILE: &str = "node.toml";

/// What network to lay out.
#[derive(Debug, Clone)]
pub struct Plan {
    /// A name for people.
    pub name: String,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Storage nodes.
    pub storage: u16,
    /// Inference nodes.
    pub inference: u16,
    /// Verifiers.
    pub verifiers: u16,
    /// Gateways.
    pub gateways: u16,
    /// The first node listens here, the others on the ports after it; 0 takes free ports, which only
    /// works if all nodes run in one process.
    pub first_port: u16,
    /// How often verifiers look for new receipts, in milliseconds.
    pub verifier_poll_ms: u64,
}

impl Plan {
    /// The development network: 1 validator, 5 storage nodes, 2 inference nodes, 1 verifier, 1 gateway.
    #[must_use]
    pub fn development(first_port: u16) -> Self {
        Self {
            name: "nabla-dev".to_owned(),
            chain_id: 31_337,
            storage: 5,
            inference: 2,
            verifiers: 1,
            gateways: 1,
            first_port,
            verifier_poll_ms: 200,
        }
    }

    /// The nodes' names and roles, in the order of their ports. The gateway, which people use, is first.
    fn nodes(&self) -> Vec<(String, Role)> {
        let numbered = |word: &'static str, role, count: u16| {
            (1..=count).map(move |number| (format!("{word}-{number}"), role))
        };
        numbered("gateway", Role::Gateway, self.gateways)
            .chain([("validator".to_owned(), Role::Validator)])
            .chain(numbered("storage", Role::Storage, self.storage))
            .chain(numbered("inference", Role::Inference, self.inference))
            .chain(numbered("verifier", Role::Verifier, self.verifiers))
            .collect()
    }

    /// Write the network's files under `folder` and return the configurations' paths, the validator's
    /// first. A folder that has a network already is left as it is.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::BadFile`].
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let nodes = self.nodes();
        if !folder.join(GENESIS_FILE).exists() {
            let genesis = self.genesis(folder, &nodes)?;
            for (index, (name, role)) in nodes.iter().enumerate() {
                let text = toml::to_string(&self.config(name, *role, index)).expect("a config is TOML");
                write_new(&folder.join(name).join(CONFIG_FILE), text.as_bytes())?;
            }
            // Last, so that a network is there whole or not at all.
            write_new(&folder.join(GENESIS_FILE), &cbor::encode(&genesis))?;
        }
        let mut order = nodes;
        order.sort_by_key(|(_, role)| *role != Role::Validator);
        Ok(order.into_iter().map(|(name, _)| folder.join(name).join(CONFIG_FILE)).collect())
    }

    /// Keys are made here, for the genesis names them.
    fn genesis(&self, folder: &Path, nodes: &[(String, Role)]) -> Result<Genesis, Error> {
        fs::create_dir_all(folder).map_err(|source| Error::io("create folder", folder, source))?;
        let faucet = account_key(&folder.join("validator").join("faucet.key"))?.address();
        let mut allocations = vec![Allocation { account: faucet, amount: Opg::whole(1_000_000) }];
        let mut verifiers = Vec::new();
        for (name, role) in nodes {
            let node = node_key(&folder.join(name).join("node.key"))?.id();
            if *role == Role::Verifier {
                verifiers.push(node);
            }
            let account = account_key(&folder.join(name).join("account.key"))?.address();
            if *role == Role::Inference {
                allocations.push(Allocation { account, amount: Opg::whole(1_000) });
            }
        }
        verifiers.sort_unstable();
        allocations.sort_by_key(|allocation| allocation.account);
        Ok(Genesis {
            format: Genesis::FORMAT.to_owned(),
            name: self.name.clone(),
            chain_id: self.chain_id,
            validator: node_key(&folder.join("validator").join("node.key"))?.id(),
            faucet: Some(faucet),
            allocations,
            fee_basis_points: 250,
            inference_stake_min: Opg::whole(100),
            storage_price_per_kib: Opg::from_units(10_000_000_000_000),
            reservation_ttl_ms: 120_000,
            verifiers,
        })
    }

    fn config(&self, name: &str, role: Role, index: usize) -> Config {
        let port = |index: usize| match self.first_port {
            0 => 0,
            first => first.saturating_add(u16::try_from(index).unwrap_or(u16::MAX)),
        };
        let validator = port(usize::from(self.gateways));
        let faucet_key = (role == Role::Validator).then(|| PathBuf::from("faucet.key"));
        Config {
            name: name.to_owned(),
            roles: vec![role],
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port(index))),
            endpoint: None,
            data_dir: PathBuf::from("data"),
            node_key: PathBuf::from("node.key"),
            account_key: PathBuf::from("account.key"),
            genesis: Path::new("..").join(GENESIS_FILE),
            ledger: (role != Role::Validator).then(|| format!("http://127.0.0.1:{validator}")),
            engine: EngineConfig::default(),
            validator: ValidatorConfig { faucet_key, ..ValidatorConfig::default() },
            storage: StorageConfig::default(),
            inference: InferenceConfig::default(),
            verifier: VerifierConfig { poll_ms: self.verifier_poll_ms },
            gateway: GatewayConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_laid_out_once() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let plan = Plan::development(11_400);
        let paths = plan.write(dir.path()).expect("a new network");
        assert_eq!(paths.len(), 10);
        let genesis = fs::read(dir.path().join(GENESIS_FILE)).expect("a genesis");
        for path in &paths {
            let config = Config::read(path).expect("a sound configuration");
            assert!(config.genesis.exists() && config.node_key.exists(), "{config:?}");
        }
        assert_eq!(Config::read(&paths[0]).expect("a configuration").roles, [Role::Validator]);
        assert_eq!(plan.write(dir.path()).expect("the same network"), paths);
        assert_eq!(fs::read(dir.path().join(GENESIS_FILE)).expect("a genesis"), genesis);
    }
}
