//! A block's changes over the state before it.
//!
//! While a block is drafted the state stays as it is: every table is read through an [`Overlay`], which
//! holds what the block changed so far and can take back what the latest transaction did. The finished
//! changes are then committed in one go, after the block is durable.

use std::collections::BTreeMap;

use nabla_types::{
    Address, BlobId, ModelId, NodeId, PaymentId, ReceiptId, RepoName, TxId,
    chain::{Account, StoredBlob, VerdictRecord},
};

use crate::state::{NodeCounts, NodeEntry, PaymentEntry, ReceiptEntry, Repo};

/// One table with a block's changes on top. `None` stands for a removed key.
#[derive(Debug)]
pub(crate) struct Overlay<'a, K, V> {
    base: &'a BTreeMap<K, V>,
    changed: BTreeMap<K, Option<V>>,
    /// What `changed` held before each change since the last [`Overlay::keep`].
    undo: Vec<(K, Option<Option<V>>)>,
}

impl<'a, K: Ord + Clone, V> Overlay<'a, K, V> {
    fn new(base: &'a BTreeMap<K, V>) -> Self {
        Self { base, changed: BTreeMap::new(), undo: Vec::new() }
    }

    /// The table as it was before this block.
    pub(crate) fn base(&self) -> &'a BTreeMap<K, V> {
        self.base
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key),
        }
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn put(&mut self, key: K, value: V) {
        self.set(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: K) {
        self.set(key, None);
    }

    fn set(&mut self, key: K, value: Option<V>) {
        let before = self.changed.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    fn keep(&mut self) {
        self.undo.clear();
    }

    fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.changed.insert(key, value),
                None => self.changed.remove(&key),
            };
        }
    }
}

fn commit<K: Ord, V>(table: &mut BTreeMap<K, V>, changed: BTreeMap<K, Option<V>>) {
    for (key, value) in changed {
        match value {
            Some(value) => table.insert(key, value),
            None => table.remove(&key),
        };
    }
}

/// The same list of tables three times: as they are, as a draft sees them, and as a block changes them.
macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident: $key:ty => $value:ty,)*) => {
        /// Every table of the state.
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub(crate) struct Tables { $($(#[$doc])* pub(crate) $name: BTreeMap<$key, $value>,)* }

        /// Every table as a draft sees it.
        #[derive(Debug)]
        pub(crate) struct Overlays<'a> { $(pub(crate) $name: Overlay<'a, $key, $value>,)* }

        /// What a block changes in every table.
        #[derive(Debug)]
        pub(crate) struct TableChanges { $($name: BTreeMap<$key, Option<$value>>,)* }

        impl Tables {
            pub(crate) fn overlays(&self) -> Overlays<'_> {
                Overlays { $($name: Overlay::new(&self.$name),)* }
            }

            pub(crate) fn commit(&mut self, changes: TableChanges) {
                $(commit(&mut self.$name, changes.$name);)*
            }
        }

        impl Overlays<'_> {
            /// What was done since the last call stays.
            pub(crate) fn keep(&mut self) {
                $(self.$name.keep();)*
            }

            /// What was done since the last [`Overlays::keep`] is undone.
            pub(crate) fn roll_back(&mut self) {
                $(self.$name.roll_back();)*
            }

            pub(crate) fn into_changes(self) -> TableChanges {
                TableChanges { $($name: self.$name.changed,)* }
            }
        }
    };
}

tables! {
    /// Balances, those of escrow and stake among them.
    accounts: Address => Account,
    /// Every authorisation that was ever used, and by which transaction.
    spent: PaymentId => TxId,
    /// The height of every transaction.
    txs: TxId => u64,
    /// Registered nodes.
    nodes: NodeId => NodeEntry,
    /// What came of their receipts; apart from the entry because it changes with each call.
    node_counts: NodeId => NodeCounts,
    /// Who owns an `owner/` prefix.
    prefixes: String => Address,
    /// Published repositories.
    repos: RepoName => Repo,
    /// Calls settled for each.
    calls: RepoName => u64,
    /// Models that some revision names, and the height at which they became known.
    models: ModelId => u64,
    /// Blobs that holders vouch for.
    blobs: BlobId => StoredBlob,
    /// Payments for calls.
    payments: PaymentId => PaymentEntry,
    /// When reserved payments expire.
    due: (u64, PaymentId) => (),
    /// Settled receipts.
    receipts: ReceiptId => ReceiptEntry,
    /// Verdicts on them.
    verdicts: (ReceiptId, NodeId) => VerdictRecord,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_back_takes_back_exactly_what_was_not_kept() {
        let base = BTreeMap::from([(1, "one"), (2, "two")]);
        let mut table = Overlay::new(&base);
        table.put(1, "eins");
        table.remove(2);
        table.put(3, "drei");
        table.keep();
        table.put(1, "un");
        table.put(1, "uno");
        table.put(2, "deux");
        table.remove(3);
        table.put(4, "quatre");
        table.roll_back();
        assert_eq!(
            [1, 2, 3, 4].map(|key| table.get(&key).copied()),
            [Some("eins"), None, Some("drei"), None]
        );
        let mut after = base.clone();
        commit(&mut after, table.changed);
        assert_eq!(after, BTreeMap::from([(1, "eins"), (3, "drei")]));
    }
}
