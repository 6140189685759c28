//! Who is chosen, and for how much.

use nabla_types::{
    Address, BlobId, NodeId,
    chain::{RepoRecord, RevisionRecord},
    manifest::{BlobRef, ModelManifest},
    payment::Nonce,
};
use proptest::prelude::*;

use super::*;

fn resolved(macs_per_row: u64) -> Resolved {
    let format = ModelManifest::FORMAT.to_owned();
    let (graph, weights) = (BlobRef::of(b"graph"), BlobRef::of(b"weights"));
    let row_elements = 2;
    let manifest = ModelManifest {
        format,
        kernel_spec: 1,
        macs_per_row,
        batched: true,
        graph,
        weights,
        row_elements,
        language: None,
    };
    let revision = RevisionRecord {
        model: manifest.model_id(),
        revision: BlobId([1; 32]),
        royalty: Opg::from_units(5),
        storage_fee: Opg::ZERO,
        height: 1,
        summary: String::new(),
    };
    let name = name();
    let record = RepoRecord { name, owner: Address([2; 20]), revisions: vec![revision], calls: 0 };
    Resolved { record, manifest }
}

fn name() -> RepoName {
    "alice/digits".parse().expect("a valid name")
}

fn request(shape: &[u64]) -> CallRequest {
    CallRequest {
        model: name(),
        model_id: None,
        nonce: Nonce([1; 32]),
        asked: Asked::Tensors(vec![shape.to_vec()]),
    }
}

fn provider(id: u8, per_call: u128, warm: bool, running: u32) -> Provider {
    let (per_call, per_gigamac) = (Opg::from_units(per_call), Opg::from_units(1));
    let endpoint = "http://node".to_owned();
    Provider { node: NodeId([id; 32]), endpoint, per_call, per_gigamac, warm, running, running_max: 8 }
}

fn order(providers: Vec<Provider>) -> Vec<u8> {
    let work = Work::of(&resolved(1), &request(&[1, 2])).expect("work");
    work.offers(providers).iter().map(|offer| offer.provider.node.0[0]).collect()
}

#[test]
fn the_best_provider_comes_first() {
    let check = |providers: &[Provider], expect: &[u8]| assert_eq!(order(providers.to_vec()), expect);
    check(&[provider(2, 10, true, 0), provider(1, 10, true, 0)], &[1, 2]); // equal: by id
    check(&[provider(1, 10, false, 0), provider(2, 10, true, 7)], &[2, 1]); // warm before idle
    check(&[provider(1, 10, true, 2), provider(2, 20, true, 1)], &[2, 1]); // idle before cheap
    check(&[provider(1, 20, true, 1), provider(2, 10, true, 1)], &[2, 1]); // cheap
    check(&[provider(1, 10, true, 8), provider(2, 10, true, 0)], &[2]); // full
    check(&[], &[]);
}

#[test]
fn a_warm_idle_node_cannot_have_any_price_quoted() {
    assert_eq!(order(vec![provider(1, 1_000_000, true, 0), provider(2, 10, false, 7)]), [2, 1]);
    let overflowing = provider(1, u128::MAX, true, 0);
    assert_eq!(order(vec![overflowing, provider(2, 10, true, 0)]), [2]);
}

#[test]
fn the_price_is_that_of_manifest_shapes_and_provider() {
    let work = Work::of(&resolved(600_000_000), &request(&[3, 2])).expect("work");
    let quote = work.quote(vec![provider(1, 10, true, 0), provider(2, 8, false, 0)]).expect("a quote");
    assert_eq!(work.usage.macs, 1_800_000_000);
    assert_eq!(quote.best.amount, Opg::from_units(10 + 5 + 2));
    assert_eq!(quote.least(), Opg::from_units(8 + 5 + 2));
    assert_eq!(quote.affordable(Opg::from_units(15)).len(), 1);
    assert_eq!(quote.affordable(Opg::from_units(14)).len(), 0);
}

#[test]
fn what_cannot_be_priced_is_refused() {
    let check = |resolved: &Resolved, request: &CallRequest, part: &str| {
        let error = Work::of(resolved, request).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    check(&resolved(1), &request(&[0, 2]), "no rows");
    check(&resolved(u64::MAX), &request(&[2, 2]), "2^64");
    let pinned = CallRequest { model_id: Some(ModelId([9; 32])), ..request(&[1]) };
    check(&resolved(1), &pinned, "asks for 0909");
    let mut torn = resolved(1);
    torn.manifest.kernel_spec = 2;
    check(&torn, &request(&[1]), "does not fit its manifest");
    torn.record.revisions.clear();
    check(&torn, &request(&[1]), "does not fit its manifest");
    let work = Work::of(&resolved(1), &request(&[1])).expect("work");
    assert!(matches!(work.quote(Vec::new()), Err(Error::NoProvider { .. })));
}

#[test]
fn terms_are_x402s() {
    let work = Work::of(&resolved(1), &request(&[1])).expect("work");
    let quote = work.quote(vec![provider(1, 10, true, 0)]).expect("a quote");
    let network = NetworkInfo {
        network: nabla_types::NetworkId([1; 32]),
        name: "test".to_owned(),
        chain_id: 77,
        ledger_url: String::new(),
        gateway: NodeId([3; 32]),
    };
    let terms = quote.terms(&request(&[1]), &network, &Config::new("http://gateway"), "why");
    let json = serde_json::to_value(&terms).expect("terms are JSON");
    assert_eq!(json["x402Version"], 2);
    assert_eq!(json["resource"]["url"], "http://gateway/nabla/v1/infer");
    let accepts = &json["accepts"][0];
    let call = CallTerms {
        network: network.network,
        gateway: network.gateway,
        name: &name(),
        revision: quote.work.revision,
        model: quote.work.model,
    };
    let pay_to = call.payee().to_string();
    assert_eq!(
        (&accepts["scheme"], &accepts["network"], &accepts["amount"], &accepts["payTo"]),
        (&"exact".into(), &"eip155:77".into(), &"16".into(), &pay_to.into())
    );
}

#[test]
fn a_model_shows_its_price_range() {
    let providers = vec![provider(1, 30, true, 0), provider(2, 10, false, 0), provider(3, 1, true, 8)];
    let info = model_info(resolved(1), providers).expect("a model");
    let range = PriceRange { least: Opg::from_units(16), most: Opg::from_units(36) };
    assert_eq!(info.price_per_row, Some(range));
    assert_eq!((info.providers.len(), info.warm_providers), (2, vec![NodeId([1; 32])]));
    assert_eq!(model_info(resolved(1), Vec::new()).expect("a model").price_per_row, None);
}

proptest! {
    /// Whatever providers say of themselves: nobody full is chosen, everyone affordable is, none twice.
    #[test]
    fn offers_hold_for_any_words(
        words in prop::collection::vec((any::<u128>(), any::<bool>(), any::<u32>(), any::<u32>()), 0..20),
        value in any::<u128>(),
    ) {
        let providers: Vec<_> = words.iter().zip(1_u8..).map(|(&(price, warm, running, running_max), id)| {
            Provider { running_max, ..provider(id, price, warm, running) }
        }).collect();
        let work = Work::of(&resolved(1), &request(&[1])).expect("work");
        let good = |p: &Provider| p.running < p.running_max && p.per_call.units() <= u128::MAX - 6;
        let expected = providers.iter().filter(|p| good(p) && p.per_call.units() + 6 <= value).count();
        if let Ok(quote) = work.quote(providers.clone()) {
            let chosen = quote.affordable(Opg::from_units(value));
            prop_assert_eq!(chosen.len(), expected);
            prop_assert!(chosen.iter().all(|offer| good(&offer.provider)));
            prop_assert_eq!(expected > 0, quote.least() <= Opg::from_units(value));
        } else {
            prop_assert!(!providers.iter().any(good));
        }
    }
}
