//! What an ONNX file asks for, without making a model of it.
//!
//! The importer stops at the first thing that it does not take. Whoever wants to know whether a file can be
//! served wants all of them at once, so this counts operators and names those that are not known. It reads no
//! tensor, no shape and no attribute but the graphs in them.
//!
//! # Rules
//! - Nodes of the main graph, of the branches in it, and of the functions that are called from there. Nodes
//!   that no output needs are counted, too: the importer leaves them out.
//! - Each function is looked at once, however often and from wherever it is called.
//!
//! # When things go wrong
//! As on import: an [`Error`] for bytes that are no ONNX file or pass a limit.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::proto::{self, AttributeValue, FunctionProto, NodeProto};
use super::{canonical_domain, cut};
use crate::ops;
use crate::{Error, Limits};

/// What an ONNX file asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Domain (empty for the general operators) and version of each operator set, as the file imports them.
    pub opsets: Vec<(String, i64)>,
    /// Domain and name of each operator, and how often it stands in the file. Calls of the file's own functions
    /// are not counted, but the nodes in them are, once.
    pub operators: BTreeMap<(String, String), usize>,
    /// Nodes whose operator is not supported: name of the node (or of its first output), operator, domain.
    pub unsupported: Vec<(String, String, String)>,
}

/// Look through an ONNX file.
///
/// # Errors
/// [`Error`] if the bytes are no ONNX file, or larger than `limits` allow.
pub fn survey_onnx(bytes: &[u8], limits: &Limits) -> Result<Survey, Error> {
    Limits::check("bytes of the file", bytes.len() as u64, limits.file_bytes_max)?;
    let model = proto::read_model(bytes, limits)?;
    let functions = model.functions.iter();
    let mut surveyor = Surveyor {
        functions: functions.map(|f| ((canonical_domain(f.domain), f.name), f)).collect(),
        called: HashSet::new(),
        waiting: Vec::new(),
        survey: Survey::default(),
    };
    let opset = |(domain, version): &(&str, i64)| (cut(canonical_domain(domain)), *version);
    surveyor.survey.opsets = model.opsets.iter().map(opset).collect();
    surveyor.visit_all(&model.graph.nodes);
    while let Some(function) = surveyor.waiting.pop() {
        surveyor.visit_all(&function.nodes);
    }
    Ok(surveyor.survey)
}

/// All nodes of an ONNX file whose operator is not supported: name of the node (or of its first output),
/// operator, domain.
///
/// # Errors
/// As [`survey_onnx`].
pub fn unsupported_operators(bytes: &[u8], limits: &Limits) -> Result<Vec<(String, String, String)>, Error> {
    Ok(survey_onnx(bytes, limits)?.unsupported)
}

struct Surveyor<'a> {
    functions: HashMap<(&'a str, &'a str), &'a FunctionProto<'a>>,
    called: HashSet<(&'a str, &'a str)>,
    /// Functions that are called and have not been visited.
    waiting: Vec<&'a FunctionProto<'a>>,
    survey: Survey,
}

impl<'a> Surveyor<'a> {
    /// Nodes and, depth first, those of the graphs in their attributes: no deeper than the file was read.
    fn visit_all(&mut self, nodes: &'a [NodeProto<'a>]) {
        for node in nodes {
            self.visit(node);
            for attribute in &node.attributes {
                if let AttributeValue::Graph(graph) = &attribute.value {
                    self.visit_all(&graph.nodes);
                }
            }
        }
    }

    fn visit(&mut self, node: &'a NodeProto<'a>) {
        let key = (canonical_domain(node.domain), node.op_type);
        if let Some(function) = self.functions.get(&key).copied() {
            if self.called.insert(key) {
                self.waiting.push(function);
            }
            return;
        }
        let (domain, operator) = (cut(key.0), cut(node.op_type));
        let is_known = ops::find(node.op_type).is_some_and(|known| known.domain == key.0);
        if !is_known {
            let name = if node.name.is_empty() { node.outputs.first() } else { Some(&node.name) };
            let label = cut(name.copied().unwrap_or_default());
            self.survey.unsupported.push((label, operator.clone(), domain.clone()));
        }
        *self.survey.operators.entry((domain, operator)).or_insert(0) += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{File, Value, bytes, small_network, text};
    use super::*;

    fn unsupported(file: &File) -> Vec<(String, String, String)> {
        unsupported_operators(&file.build(), &Limits::default()).expect("an ONNX file")
    }

    fn named(node: &str, operator: &str, domain: &str) -> (String, String, String) {
        (node.to_owned(), operator.to_owned(), domain.to_owned())
    }

    /// A node of the wire format, with a graph as the attribute `body`.
    fn node_with_graph(operator: &str, inner: &[u8]) -> Vec<u8> {
        let attribute = [text(1, "body"), bytes(6, inner), super::super::testing::int(20, 5)].concat();
        [text(2, "y"), text(4, operator), bytes(5, &attribute)].concat()
    }

    #[test]
    fn all_are_named_not_only_the_first() {
        let file = File::new()
            .input("x", 1, &["1", "4"])
            .output("y")
            .node("Relu", &["x"], &["a"], &[])
            .node("NoSuchThing", &["a"], &["b"], &[])
            .node("Relu", &["b"], &["c"], &[])
            .node_of("com.example", "Relu", &["c"], &["d"], &[])
            .node("NoSuchThing", &["d"], &["y"], &[]);
        let expect =
            [named("b", "NoSuchThing", ""), named("d", "Relu", "com.example"), named("y", "NoSuchThing", "")];
        assert_eq!(unsupported(&file), expect);
        let survey = survey_onnx(&file.build(), &Limits::default()).expect("an ONNX file");
        let counts: Vec<_> = survey.operators.values().copied().collect();
        assert_eq!(counts, [2, 2, 1]);
        assert!(!survey.opsets.is_empty());
    }

    #[test]
    fn graphs_in_graphs_are_looked_into() {
        let inner = bytes(1, &[text(2, "z"), text(4, "Deeper")].concat());
        let middle = bytes(1, &node_with_graph("If", &inner));
        let file = File::new().raw(1, &node_with_graph("Loop", &middle));
        assert_eq!(unsupported(&file), [named("z", "Deeper", "")]);
    }

    #[test]
    fn functions_are_looked_at_once_even_if_they_call_themselves() {
        let call = [text(2, "r"), text(4, "Mine"), text(7, "own")].concat();
        let strange = [text(2, "s"), text(4, "Strange")].concat();
        let function = [text(1, "Mine"), text(10, "own"), bytes(7, &call), bytes(7, &strange)].concat();
        let never = [text(1, "Never"), text(10, "own"), bytes(7, &strange)].concat();
        let mut file = File::new().raw(1, &call).raw(1, &call);
        file.extra = vec![bytes(25, &function), bytes(25, &never)];
        assert_eq!(unsupported(&file), [named("s", "Strange", "")]);
    }

    #[test]
    fn foreign_bytes_are_refused_as_on_import() {
        let good = small_network().build();
        for length in 0..good.len() {
            let cut = survey_onnx(&good[..length], &Limits::default());
            assert!(cut.is_ok() || matches!(cut, Err(Error::Onnx { .. } | Error::Limit { .. })), "{cut:?}");
        }
        assert!(survey_onnx(b"not a model", &Limits::default()).is_err());
        let small = Limits { file_bytes_max: 10, ..Limits::default() };
        assert!(matches!(survey_onnx(&good, &small), Err(Error::Limit { .. })));
        let long = File::new().node(&"x".repeat(500), &["x"], &["y"], &[Value::Int(1)].map(|v| ("a", v)));
        assert_eq!(unsupported(&long)[0].1.len(), 80);
    }
}
