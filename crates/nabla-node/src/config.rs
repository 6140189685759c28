//! What one process does: the roles, where they listen, where they keep things.
//!
//! The file is TOML; unknown keys are refused, paths are relative to the file's folder, amounts are
//! decimal OPG. `docs/operate.md` shows a commented example, and a test reads it.

use std::{
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
};

use nabla_engine::{Engine, Kernels, UnknownKernels};
use nabla_types::{Opg, chain::Role};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Most threads of the engine.
pub const THREADS_MAX: u32 = 1024;

/// A node's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name for people, in logs.
    pub name: String,
    /// What the node does.
    pub roles: Vec<Role>,
    /// Where it listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The URL under which others reach it; by default `http://` and the listening address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its folder: journal, shards, caches, transcripts. One process at a time.
    pub data_dir: PathBuf,
    /// File with the node's secret key; made on the first start.
    #[serde(default = "default_node_key")]
    pub node_key: PathBuf,
    /// File with the secret key of the account that stakes and earns; made on the first start.
    #[serde(default = "default_account_key")]
    pub account_key: PathBuf,
    /// The network's genesis file.
    pub genesis: PathBuf,
    /// The validator's URL; not needed by the validator itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// How models are run, by whichever role runs them.
    #[serde(default)]
    pub engine: EngineConfig,
    /// Settings of the role `validator`.
    #[serde(default)]
    pub validator: ValidatorConfig,
    /// Settings of the role `storage`.
    #[serde(default)]
    pub storage: StorageConfig,
    /// Settings of the role `inference`.
    #[serde(default)]
    pub inference: InferenceConfig,
    /// Settings of the role `verifier`.
    #[serde(default)]
    pub verifier: VerifierConfig,
    /// Settings of the role `gateway`.
    #[serde(default)]
    pub gateway: GatewayConfig,
}

fn default_node_key() -> PathBuf {
    PathBuf::from("node.key")
}

fn default_account_key() -> PathBuf {
    PathBuf::from("account.key")
}

/// How models are run. Neither setting changes a bit of any answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// Threads that all runs share; 0 for as many as the machine has.
    pub threads: u32,
    /// Build of the kernels: `auto` for the fastest that the processor has, else as for [`kernels`].
    pub kernels: String,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { threads: 0, kernels: "auto".to_owned() }
    }
}

impl EngineConfig {
    /// The engine with these settings.
    ///
    /// # Errors
    /// [`Error::UnknownKernels`]; [`Error::Engine`] if this processor lacks them or the threads do not start.
    pub fn engine(&self) -> Result<Engine, Error> {
        Engine::with_threads(kernels(&self.kernels)?, self.threads()).map_err(Error::Engine)
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        let machine = || std::thread::available_parallelism().map_or(1, NonZero::get);
        usize::try_from(self.threads).ok().filter(|threads| *threads > 0).unwrap_or_else(machine)
    }
}

/// The build of the kernels that has this name: `auto`, `scalar`, `avx2`.
///
/// # Errors
/// [`UnknownKernels`].
pub fn kernels(name: &str) -> Result<Kernels, UnknownKernels> {
    name.parse()
}

/// Settings of a validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidatorConfig {
    /// File with the faucet account's secret key; without it there is no faucet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faucet_key: Option<PathBuf>,
    /// What one request to the faucet gives, in OPG.
    #[serde(with = "decimal_opg")]
    pub faucet_drip: Opg,
}

impl Default for ValidatorConfig {
    fn default() -> Self {
        Self { faucet_key: None, faucet_drip: Opg::whole(10) }
    }
}

/// Settings of a storage node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Most bytes of shards it keeps.
    pub bytes_max: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self { bytes_max: 100 << 30 }
    }
}

/// Settings of an inference node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InferenceConfig {
    /// Asked for each call, in OPG.
    #[serde(with = "decimal_opg")]
    pub per_call: Opg,
    /// Asked for each 10^9 multiply-accumulates begun, in OPG.
    #[serde(with = "decimal_opg")]
    pub per_gigamac: Opg,
    /// Put at stake when the node first registers, in OPG.
    #[serde(with = "decimal_opg")]
    pub stake: Opg,
    /// Jobs in work at once; more are refused.
    pub jobs_max: u32,
    /// Most bytes of models in memory, those being loaded included. A model that runs stays; one that does
    /// not fit beside those is refused.
    pub memory_bytes_max: u64,
    /// Most bytes of language models in memory, beside those: weights, and the keys and values of the
    /// conversations that they are in.
    pub language_bytes_max: u64,
    /// Most bytes of models on disk: half for what was fetched, half for models packed for this machine.
    pub cache_bytes_max: u64,
    /// How long requests and answers are kept for verifiers and for repeated calls, in hours.
    pub transcript_hours: u32,
}

impl Default for InferenceConfig {
    fn default() -> Self {
        Self {
            per_call: Opg::from_units(1_000_000_000_000_000),
            per_gigamac: Opg::from_units(500_000_000_000_000),
            stake: Opg::whole(100),
            jobs_max: 16,
            memory_bytes_max: 4 << 30,
            language_bytes_max: 4 << 30,
            cache_bytes_max: 50 << 30,
            transcript_hours: 24,
        }
    }
}

/// Settings of a verifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VerifierConfig {
    /// How often it looks for new receipts, in milliseconds.
    pub poll_ms: u64,
}

impl Default for VerifierConfig {
    fn default() -> Self {
        Self { poll_ms: 500 }
    }
}

/// Settings of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Calls in work at once; more are refused.
    pub calls_max: u32,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self { calls_max: 256 }
    }
}

impl Config {
    /// Read a file; relative paths in it become relative to its folder.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::io("read", path, source))?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|error| Error::Config { path: path.to_owned(), reason: error.to_string() })?;
        config.rebase(path.parent().unwrap_or(Path::new(".")));
        config.check().map_err(|reason| Error::Config { path: path.to_owned(), reason })?;
        Ok(config)
    }

    fn rebase(&mut self, folder: &Path) {
        self.data_dir = folder.join(&self.data_dir);
        self.genesis = folder.join(&self.genesis);
        self.node_key = folder.join(&self.node_key);
        self.account_key = folder.join(&self.account_key);
        if let Some(key) = &mut self.validator.faucet_key {
            *key = folder.join(&*key);
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.roles.is_empty() {
            return Err("expected at least one role in `roles`, got none".to_owned());
        }
        if self.ledger.is_none() && !self.has(Role::Validator) {
            return Err("expected the validator's URL as `ledger`, got none".to_owned());
        }
        if self.engine.threads > THREADS_MAX {
            return Err(format!(
                "expected at most {THREADS_MAX} engine.threads, got {}",
                self.engine.threads
            ));
        }
        kernels(&self.engine.kernels).map(drop).map_err(|error| format!("engine.kernels: {error}"))
    }

    /// Whether the node has this role.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// Amounts as people write them: `"0.001"` is a thousandth of an OPG.
mod decimal_opg {
    use nabla_types::Opg;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(amount: &Opg, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Opg, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Config {
        toml::from_str(
            "name = \"a\"\nroles = [\"storage\"]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\n\
             genesis = \"genesis.cbor\"\nledger = \"http://127.0.0.1:1\"\n",
        )
        .expect("a minimal config")
    }

    #[test]
    fn defaults_are_written_and_read_back() {
        let config = minimal();
        let text = toml::to_string(&config).expect("a config is TOML");
        assert_eq!(toml::from_str::<Config>(&text).expect("own text"), config);
        assert!(text.contains("per_call = \"0.001\""), "{text}");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = toml::to_string(&minimal()).expect("a config is TOML") + "colour = \"red\"\n";
        assert!(toml::from_str::<Config>(&text).is_err());
    }

    #[test]
    fn a_node_needs_a_role_and_a_ledger() {
        assert!(Config { roles: vec![], ..minimal() }.check().is_err());
        assert!(Config { ledger: None, ..minimal() }.check().is_err());
        assert!(Config { ledger: None, roles: vec![Role::Validator], ..minimal() }.check().is_ok());
    }

    #[test]
    fn engine_settings_are_checked_before_anything_starts() {
        let check = |threads, kernels: &str| {
            let engine = EngineConfig { threads, kernels: kernels.to_owned() };
            Config { engine, ..minimal() }.check().err().unwrap_or_default()
        };
        assert_eq!(check(0, "auto"), "");
        assert_eq!(check(3, "scalar"), "");
        assert!(check(1, "abacus").contains("kernels \"abacus\" are not known"));
        assert!(check(THREADS_MAX + 1, "auto").contains("at most 1024"));
        let engine = EngineConfig { threads: 2, kernels: "scalar".to_owned() };
        assert_eq!(engine.engine().expect("always there").kernels(), "scalar");
        assert!(EngineConfig::default().threads() > 0);
    }
}
