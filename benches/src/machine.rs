//! What the figures were measured on, and against which versions.

use std::process::Command;

/// Libraries that limits are made of.
const PEERS: [&str; 5] = ["blake3", "reed-solomon-simd", "ed25519-dalek", "k256", "tokio"];

/// Processor, cores, compiler and versions, in lines.
#[must_use]
pub fn describe() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("unknown", |(_, value)| value.trim()).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc =
        rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let vectors: Vec<&str> = ["avx2", "fma", "avx512f", "gfni", "asimd", "sha_ni"]
        .into_iter()
        .filter(|name| cpu.split_whitespace().any(|flag| flag == *name))
        .collect();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "{} (family {}, model {}), {cores} cores, {}; load {load} at the start\n{rustc}; {}\n",
        field("model name"),
        field("cpu family"),
        field("model\t"),
        vectors.join(" "),
        versions().join(", ")
    )
}

/// Names and versions of the peers, as the lock file has them.
fn versions() -> Vec<String> {
    let lock = include_str!("../../Cargo.lock");
    let version = |name: &str| {
        let entry =
            lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")))?;
        let line = entry.lines().find_map(|line| line.strip_prefix("version = \""))?;
        Some(format!("{name} {}", line.trim_end_matches('"')))
    };
    PEERS.into_iter().filter_map(version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_version() {
        assert_eq!(versions().len(), PEERS.len(), "{:?}", versions());
    }
}
