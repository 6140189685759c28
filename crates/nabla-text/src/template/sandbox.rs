//! What a template can reach, and what it may spend.
//!
//! # Rules
//! - A [`Budget`] counts every byte that is made, compared or searched, and 64 for each value. Filters,
//!   methods and functions are counted before they run, by what they read and can make.
//! - No clock, no randomness, no files, no other templates. Filters and functions are those of the lists
//!   here; formatting by a pattern is not among them, since a pattern can ask for any width.
//! - Values are nested [`NESTING_MAX`] deep at most, and no namespace is put into anything: so nothing is
//!   deep enough for the stack, and nothing holds itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use minijinja::{
    Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, escape_formatter, filters,
    functions, tests,
    value::{Kwargs, Rest, ValueKind},
};

use super::{
    json,
    syntax::{ADD, CONCAT, MULTIPLY, NEST, READ},
};

/// Deepest nesting of a value.
pub(super) const NESTING_MAX: usize = 32;
/// Deepest recursion of macros and loops.
const RECURSION_MAX: usize = 100;
/// Most numbers of a `range`.
const RANGE_MAX: usize = 10_000;
/// What a value costs beside its bytes.
const VALUE_COST: u64 = 64;

/// What is left to spend.
#[derive(Clone)]
pub(super) struct Budget(Arc<Counters>);

struct Counters {
    left: AtomicU64,
    spent: AtomicBool,
    raised: AtomicBool,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        let (spent, raised) = (AtomicBool::new(false), AtomicBool::new(false));
        Self(Arc::new(Counters { left: AtomicU64::new(bytes), spent, raised }))
    }

    /// All was spent.
    pub(super) fn is_spent(&self) -> bool {
        self.0.spent.load(Ordering::Relaxed)
    }

    /// The template raised an exception of its own.
    pub(super) fn has_raised(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    fn spend(&self, bytes: u64) -> Result<(), Error> {
        let left = self.0.left.load(Ordering::Relaxed);
        match left.checked_sub(bytes) {
            Some(left) => self.0.left.store(left, Ordering::Relaxed),
            None => {
                self.0.spent.store(true, Ordering::Relaxed);
                return Err(refused("more work than a chat template may make"));
            }
        }
        Ok(())
    }

    /// Count all of a value. Shared parts count each time, as they would be written each time.
    fn read(&self, value: &Value) -> Result<(), Error> {
        self.read_nested(value, NESTING_MAX)
    }

    fn read_nested(&self, value: &Value, depth: usize) -> Result<(), Error> {
        self.spend(VALUE_COST + text_bytes(value))?;
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return Ok(());
        }
        let depth = depth.checked_sub(1).ok_or_else(|| refused("values are nested too deeply"))?;
        let is_map = value.kind() == ValueKind::Map;
        for item in value.try_iter()? {
            self.read_nested(&item, depth)?;
            if is_map {
                self.read_nested(&value.get_item(&item)?, depth)?;
            }
        }
        Ok(())
    }

    /// Count what lies at the top of a value: for what passes its items on unread.
    fn touch(&self, value: &Value) -> Result<(), Error> {
        let items = if text_bytes(value) > 0 { 0 } else { value.len().unwrap_or(0) as u64 };
        self.spend(VALUE_COST + text_bytes(value) + items * VALUE_COST)
    }
}

fn text_bytes(value: &Value) -> u64 {
    value.as_str().map_or(0, str::len) as u64
}

fn refused(reason: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The environment of one rendering.
pub(super) fn environment(budget: &Budget, instructions: u64) -> Environment<'static> {
    let mut environment = Environment::empty();
    environment.set_fuel(Some(instructions));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    let counted = budget.clone();
    environment.set_formatter(move |out: &mut Output, state: &mut State, value: &Value| {
        counted.read(value)?;
        escape_formatter(out, state, value)
    });
    add_operators(&mut environment, budget);
    add_functions(&mut environment, budget);
    add_filters(&mut environment, budget);
    add_tests(&mut environment);
    let counted = budget.clone();
    environment.set_unknown_method_callback(move |state, value, method, args| {
        method_cost(&counted, value, method, args)?;
        minijinja_contrib::pycompat::unknown_method_callback(state, value, method, args)
    });
    environment
}

fn add_operators(environment: &mut Environment<'static>, budget: &Budget) {
    let counted = budget.clone();
    environment.add_function(READ, move |value: Value| counted.touch(&value).map(|()| value));
    let counted = budget.clone();
    environment.add_function(NEST, move |value: Value| counted.nest(&value).map(|()| value));
    let counted = budget.clone();
    environment.add_function(CONCAT, move |left: Value, right: Value| {
        counted.read(&left)?;
        counted.read(&right)?;
        Ok::<_, Error>(Value::from(format!("{left}{right}")))
    });
    let counted = budget.clone();
    environment.add_function(ADD, move |left: Value, right: Value| counted.add(left, right));
    let counted = budget.clone();
    environment.add_function(MULTIPLY, move |left: Value, right: Value| counted.multiply(left, right));
}

/// Operators of minijinja are not callable; an expression of two names is.
fn operator(source: &'static str, left: Value, right: Value) -> Result<Value, Error> {
    let environment = Environment::empty();
    let context = Value::from_pairs([("a", left), ("b", right)]);
    environment.compile_expression(source)?.eval(context)
}

impl Budget {
    /// A value that goes into another one.
    fn nest(&self, value: &Value) -> Result<(), Error> {
        if is_namespace(value) {
            return Err(refused("a namespace cannot be put into anything"));
        }
        match value.kind() {
            ValueKind::Plain => Err(refused("only text, numbers, lists and maps can be put into something")),
            ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => self.nest_items(Some(value)),
            _ => self.spend(VALUE_COST),
        }
    }

    /// The same for a list or map that was just made of its items. Those of the items were checked before.
    fn nest_items(&self, value: Option<&Value>) -> Result<(), Error> {
        let Some(value) = value else { return Ok(()) };
        for item in value.try_iter()? {
            let item = if value.kind() == ValueKind::Map { value.get_item(&item)? } else { item };
            if is_namespace(&item) || item.kind() == ValueKind::Plain {
                return Err(refused("only text, numbers, lists and maps can be put into something"));
            }
        }
        self.read(value)
    }

    fn add(&self, left: Value, right: Value) -> Result<Value, Error> {
        self.touch(&left)?;
        self.touch(&right)?;
        if let (Some(left), Some(right)) = (left.as_str(), right.as_str()) {
            return Ok(Value::from([left, right].concat()));
        }
        let is_list = |value: &Value| matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
        if is_list(&left) && is_list(&right) {
            // At once, not when it is read: so chains of lists do not grow.
            return Ok(left.try_iter()?.chain(right.try_iter()?).collect());
        }
        operator("a + b", left, right)
    }

    fn multiply(&self, left: Value, right: Value) -> Result<Value, Error> {
        let times = |value: &Value| u64::try_from(value.as_i64().unwrap_or(0)).unwrap_or(0);
        let size = |value: &Value| match value.kind() {
            ValueKind::String => text_bytes(value),
            ValueKind::Seq | ValueKind::Iterable => {
                value.len().map_or(u64::MAX, |len| len as u64 * VALUE_COST)
            }
            _ => 0,
        };
        self.spend(size(&left).saturating_mul(times(&right).max(1)))?;
        self.spend(size(&right).saturating_mul(times(&left).max(1)))?;
        operator("a * b", left, right)
    }
}

/// The type is the renderer's own; its name is all that shows.
fn is_namespace(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name().ends_with("Namespace"))
}

fn add_functions(environment: &mut Environment<'static>, budget: &Budget) {
    let counted = budget.clone();
    environment.add_function("range", move |from: isize, to: Option<isize>, step: Option<isize>| {
        let range = functions::range(from, to, step)?;
        let len = range.len().unwrap_or(usize::MAX);
        if len > RANGE_MAX {
            return Err(refused("a range has at most 10000 numbers"));
        }
        counted.spend(len as u64 * VALUE_COST)?;
        Ok(range)
    });
    let builtins = [
        ("namespace", Value::from_function(functions::namespace)),
        ("dict", Value::from_function(functions::dict)),
    ];
    for (name, builtin) in builtins {
        let counted = budget.clone();
        environment.add_function(name, move |state: &mut State, args: Rest<Value>, named: Kwargs| {
            let args = all(args, named);
            for arg in args.iter().filter(|arg| !arg.is_kwargs()) {
                counted.nest(arg)?;
            }
            counted.nest_items(args.last().filter(|arg| arg.is_kwargs()))?;
            builtin.call(state, &args)
        });
    }
    let counted = budget.clone();
    environment.add_function("raise_exception", move |message: String| -> Result<Value, Error> {
        counted.0.raised.store(true, Ordering::Relaxed);
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
}

/// All arguments, as the renderer passes them: those with names together, as the last one.
fn all(args: Rest<Value>, named: Kwargs) -> Vec<Value> {
    let mut all = args.0;
    if named.args().next().is_some() {
        all.push(Value::from(named));
    }
    all
}

/// Filters that pass the items of a list or map on without reading them.
const SHALLOW: [&str; 12] =
    ["length", "count", "first", "last", "default", "d", "list", "reverse", "items", "attr", "bool", "safe"];

fn add_filters(environment: &mut Environment<'static>, budget: &Budget) {
    for (name, filter) in builtin_filters() {
        let counted = budget.clone();
        environment.add_filter(name, move |state: &mut State, args: Rest<Value>, named: Kwargs| {
            let args = all(args, named);
            for arg in args.iter() {
                if SHALLOW.contains(&name) { counted.touch(arg)? } else { counted.read(arg)? }
            }
            counted.spend(growth(name, &args)?)?;
            filter.call(state, &args)
        });
    }
    let counted = budget.clone();
    environment.add_filter("tojson", move |value: Value, options: Kwargs| {
        counted.read(&value)?;
        let indent: Option<usize> = options.get("indent")?;
        // HF's templates may say these; text is never escaped, and keys keep their order.
        let _: Option<bool> = options.get("ensure_ascii")?;
        options.assert_all_used()?;
        let text = json::text(&value, indent.filter(|indent| *indent <= 16))?;
        counted.spend(text.len() as u64)?;
        Ok::<_, Error>(text)
    });
}

fn builtin_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("safe", Value::from_function(|value: Value| value)),
        ("lower", Value::from_function(filters::lower)),
        ("upper", Value::from_function(filters::upper)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("length", Value::from_function(filters::length)),
        ("count", Value::from_function(filters::length)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("reverse", Value::from_function(filters::reverse)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("default", Value::from_function(filters::default)),
        ("d", Value::from_function(filters::default)),
        ("abs", Value::from_function(filters::abs)),
        ("int", Value::from_function(filters::int)),
        ("float", Value::from_function(filters::float)),
        ("attr", Value::from_function(filters::attr)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("sort", Value::from_function(filters::sort)),
        ("unique", Value::from_function(filters::unique)),
        ("list", Value::from_function(filters::list)),
        ("string", Value::from_function(filters::string)),
        ("bool", Value::from_function(filters::bool)),
        ("indent", Value::from_function(filters::indent)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("map", Value::from_function(filters::map)),
    ]
}

/// What a filter or method makes beside what it reads, at most.
fn growth(name: &str, args: &[Value]) -> Result<u64, Error> {
    let bytes = |index: usize| args.get(index).map_or(0, text_bytes);
    Ok(match name {
        // At each byte, and once more at the end.
        "replace" => {
            let (text, from) = (args.first().and_then(Value::as_str), args.get(1).and_then(Value::as_str));
            let (Some(text), Some(from)) = (text, from) else {
                return Err(refused("replace takes text, what to look for, and what to put there"));
            };
            (text.matches(from).count() as u64).saturating_mul(bytes(2))
        }
        "join" => (args.first().and_then(Value::len).unwrap_or(0) as u64).saturating_mul(bytes(1)),
        "split" | "splitlines" | "lines" => bytes(0).saturating_mul(VALUE_COST),
        "indent" => {
            let width = args.get(1).filter(|width| !width.is_kwargs()).and_then(Value::as_i64).unwrap_or(16);
            if !(0..=64).contains(&width) || args.last().is_some_and(Value::is_kwargs) {
                return Err(refused("indent takes a width of at most 64, and no names"));
            }
            bytes(0).saturating_mul(width.unsigned_abs())
        }
        _ => 0,
    })
}

fn method_cost(budget: &Budget, value: &Value, method: &str, args: &[Value]) -> Result<(), Error> {
    if method == "format" {
        return Err(refused("format is not for chat templates: write text and values side by side"));
    }
    budget.touch(value)?;
    args.iter().try_for_each(|arg| budget.read(arg))?;
    let all: Vec<_> = match method {
        // `", ".join(list)`: the filter has them the other way round.
        "join" => args.iter().chain([value]).cloned().collect(),
        _ => [value].into_iter().chain(args).cloned().collect(),
    };
    budget.spend(growth(method, &all)?)
}

fn add_tests(environment: &mut Environment<'static>) {
    environment.add_test("defined", tests::is_defined);
    environment.add_test("undefined", tests::is_undefined);
    environment.add_test("none", tests::is_none);
    environment.add_test("boolean", tests::is_boolean);
    environment.add_test("true", tests::is_true);
    environment.add_test("false", tests::is_false);
    environment.add_test("string", tests::is_string);
    environment.add_test("number", tests::is_number);
    environment.add_test("integer", tests::is_integer);
    environment.add_test("float", tests::is_float);
    environment.add_test("sequence", tests::is_sequence);
    environment.add_test("iterable", tests::is_iterable);
    environment.add_test("mapping", tests::is_mapping);
    environment.add_test("even", tests::is_even);
    environment.add_test("odd", tests::is_odd);
    environment.add_test("divisibleby", tests::is_divisibleby);
    environment.add_test("startingwith", tests::is_startingwith);
    environment.add_test("endingwith", tests::is_endingwith);
    for name in ["eq", "equalto", "=="] {
        environment.add_test(name, tests::is_eq);
    }
    for name in ["ne", "!="] {
        environment.add_test(name, tests::is_ne);
    }
    environment.add_test("in", tests::is_in);
}
