//! A template's syntax tree, built anew with a guard at each place where a value can grow.
//!
//! The renderer counts instructions, but one instruction can double a string, build a list round a list, or
//! search megabytes. So the tree that is compiled is not the one that was parsed: operators and literals
//! that make something become calls of guards, which count what they make (`sandbox.rs`). The guards' names
//! are no identifiers, so no template can call, hide or replace them.
//!
//! # Rules
//! - Sizes that the parser's recursion depends on are checked before it runs: see [`check_tokens`].
//! - There is one template: to include, import, extend and define blocks is refused.

use minijinja::{
    Value,
    machinery::{
        Span, Token,
        ast::{self, BinOpKind, CallArg, Expr, Spanned, Stmt},
        parse, tokenize,
    },
    syntax::SyntaxConfig,
};

use crate::error::Error;

/// `a + b`.
pub(super) const ADD: &str = "+";
/// `a ~ b`.
pub(super) const CONCAT: &str = "~";
/// `a * b`.
pub(super) const MULTIPLY: &str = "*";
/// What is compared or searched: passed on, and counted.
pub(super) const READ: &str = "==";
/// What is put into something else: passed on, if it is not nested too deeply.
pub(super) const NEST: &str = "[]";

/// Most tokens between the delimiters of one tag: operators nest the tree without recursion of the parser.
const TAG_TOKENS_MAX: usize = 1_000;
/// Most `elif` of a template: each nests the tree.
const ELIF_MAX: usize = 100;

/// The guarded tree of a template.
pub(super) fn guarded<'a>(source: &'a str, syntax: &SyntaxConfig) -> Result<Stmt<'a>, Error> {
    check_tokens(source, syntax)?;
    let tree = parse(source, "chat template", syntax.clone()).map_err(|error| super::bad(&error))?;
    statement(&tree)
}

/// Bound how deep the tree can be, before there is one.
fn check_tokens(source: &str, syntax: &SyntaxConfig) -> Result<(), Error> {
    let (mut in_tag, mut elifs) = (0, 0);
    for token in tokenize(source, false, syntax.clone()) {
        let (token, span) = token.map_err(|error| super::bad(&error))?;
        match token {
            Token::VariableStart | Token::BlockStart | Token::TemplateData(_) => in_tag = 0,
            Token::Ident("elif") => elifs += 1,
            _ => in_tag += 1,
        }
        if in_tag > TAG_TOKENS_MAX || elifs > ELIF_MAX {
            let reason =
                format!("expected at most {TAG_TOKENS_MAX} words in a tag, and {ELIF_MAX} times elif");
            return Err(Error::BadTemplate { line: span.start_line.into(), reason });
        }
    }
    Ok(())
}

fn statements<'a>(body: &[Stmt<'a>]) -> Result<Vec<Stmt<'a>>, Error> {
    body.iter().map(statement).collect()
}

fn statement<'a>(node: &Stmt<'a>) -> Result<Stmt<'a>, Error> {
    Ok(match node {
        Stmt::Template(it) => {
            Stmt::Template(Spanned::new(ast::Template { children: statements(&it.children)? }, it.span()))
        }
        Stmt::EmitExpr(it) => {
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr: expression(&it.expr) }, it.span()))
        }
        // As an expression, so that the formatter counts it.
        Stmt::EmitRaw(it) => {
            let expr = Expr::Const(Spanned::new(ast::Const { value: Value::from(it.raw) }, it.span()));
            Stmt::EmitExpr(Spanned::new(ast::EmitExpr { expr }, it.span()))
        }
        Stmt::ForLoop(it) => Stmt::ForLoop(Spanned::new(for_loop(it)?, it.span())),
        Stmt::IfCond(it) => Stmt::IfCond(Spanned::new(if_condition(it)?, it.span())),
        Stmt::WithBlock(it) => Stmt::WithBlock(Spanned::new(with_block(it)?, it.span())),
        Stmt::Set(it) => Stmt::Set(Spanned::new(set(it), it.span())),
        Stmt::SetBlock(it) => Stmt::SetBlock(Spanned::new(set_block(it)?, it.span())),
        Stmt::FilterBlock(it) => Stmt::FilterBlock(Spanned::new(filter_block(it)?, it.span())),
        Stmt::Macro(it) => Stmt::Macro(Spanned::new(macro_of(it)?, it.span())),
        Stmt::CallBlock(it) => Stmt::CallBlock(Spanned::new(call_block(it)?, it.span())),
        Stmt::Continue(it) => Stmt::Continue(Spanned::new(ast::Continue, it.span())),
        Stmt::Break(it) => Stmt::Break(Spanned::new(ast::Break, it.span())),
        Stmt::Do(it) => Stmt::Do(Spanned::new(ast::Do { call: call_of(&it.call) }, it.span())),
        Stmt::AutoEscape(it) => return refused("autoescape", it.span()),
        Stmt::Block(it) => return refused("block", it.span()),
        Stmt::Import(it) => return refused("import", it.span()),
        Stmt::FromImport(it) => return refused("import", it.span()),
        Stmt::Extends(it) => return refused("extends", it.span()),
        Stmt::Include(it) => return refused("include", it.span()),
    })
}

fn refused<T>(what: &str, span: Span) -> Result<T, Error> {
    let reason = format!("{what:?} is not for chat templates: there is only one template");
    Err(Error::BadTemplate { line: span.start_line.into(), reason })
}

fn for_loop<'a>(it: &ast::ForLoop<'a>) -> Result<ast::ForLoop<'a>, Error> {
    Ok(ast::ForLoop {
        target: target(&it.target),
        iter: guard(READ, &it.iter),
        filter_expr: it.filter_expr.as_ref().map(expression),
        recursive: it.recursive,
        body: statements(&it.body)?,
        else_body: statements(&it.else_body)?,
    })
}

fn if_condition<'a>(it: &ast::IfCond<'a>) -> Result<ast::IfCond<'a>, Error> {
    let (true_body, false_body) = (statements(&it.true_body)?, statements(&it.false_body)?);
    Ok(ast::IfCond { expr: expression(&it.expr), true_body, false_body })
}

fn with_block<'a>(it: &ast::WithBlock<'a>) -> Result<ast::WithBlock<'a>, Error> {
    let assignments = it.assignments.iter().map(|(name, value)| (target(name), expression(value)));
    Ok(ast::WithBlock { assignments: assignments.collect(), body: statements(&it.body)? })
}

fn set<'a>(it: &ast::Set<'a>) -> ast::Set<'a> {
    // A namespace is the one thing that can be put into itself.
    let into = has_attribute(&it.target);
    let expr = if into { guard(NEST, &it.expr) } else { expression(&it.expr) };
    ast::Set { target: target(&it.target), expr }
}

fn set_block<'a>(it: &ast::SetBlock<'a>) -> Result<ast::SetBlock<'a>, Error> {
    let filter = it.filter.as_ref().map(expression);
    Ok(ast::SetBlock { target: target(&it.target), filter, body: statements(&it.body)? })
}

/// What is assigned to: names, attributes, and lists of these, which make nothing that could grow.
fn target<'a>(node: &Expr<'a>) -> Expr<'a> {
    match node {
        Expr::List(it) => {
            let items = it.items.iter().map(target).collect();
            Expr::List(Spanned::new(ast::List { items }, it.span()))
        }
        other => expression(other),
    }
}

fn has_attribute(target: &Expr<'_>) -> bool {
    match target {
        Expr::List(it) => it.items.iter().any(has_attribute),
        other => matches!(other, Expr::GetAttr(_)),
    }
}

fn filter_block<'a>(it: &ast::FilterBlock<'a>) -> Result<ast::FilterBlock<'a>, Error> {
    Ok(ast::FilterBlock { filter: expression(&it.filter), body: statements(&it.body)? })
}

fn macro_of<'a>(it: &ast::Macro<'a>) -> Result<ast::Macro<'a>, Error> {
    let (args, defaults) = (expressions(&it.args), expressions(&it.defaults));
    Ok(ast::Macro { name: it.name, args, defaults, body: statements(&it.body)? })
}

fn call_block<'a>(it: &ast::CallBlock<'a>) -> Result<ast::CallBlock<'a>, Error> {
    let declared = Spanned::new(macro_of(&it.macro_decl)?, it.macro_decl.span());
    Ok(ast::CallBlock { call: call_of(&it.call), macro_decl: declared })
}

fn expressions<'a>(nodes: &[Expr<'a>]) -> Vec<Expr<'a>> {
    nodes.iter().map(expression).collect()
}

fn expression<'a>(node: &Expr<'a>) -> Expr<'a> {
    match node {
        Expr::Var(it) => Expr::Var(Spanned::new(ast::Var { id: it.id }, it.span())),
        Expr::Const(it) => Expr::Const(Spanned::new(ast::Const { value: it.value.clone() }, it.span())),
        Expr::Slice(it) => Expr::Slice(Spanned::new(slice(it), it.span())),
        Expr::UnaryOp(it) => {
            let is_not = matches!(it.op, ast::UnaryOpKind::Not);
            let op = if is_not { ast::UnaryOpKind::Not } else { ast::UnaryOpKind::Neg };
            Expr::UnaryOp(Spanned::new(ast::UnaryOp { op, expr: expression(&it.expr) }, it.span()))
        }
        Expr::BinOp(it) => binary(it, it.span()),
        Expr::Compare(it) => {
            let ops =
                it.ops.iter().map(|other| ast::CompareOp { op: other.op, expr: guard(READ, &other.expr) });
            let compare = ast::Compare { expr: guard(READ, &it.expr), ops: ops.collect() };
            Expr::Compare(Spanned::new(compare, it.span()))
        }
        Expr::IfExpr(it) => Expr::IfExpr(Spanned::new(if_expression(it), it.span())),
        Expr::Filter(it) => {
            let (expr, args) = (it.expr.as_ref().map(expression), arguments(&it.args));
            Expr::Filter(Spanned::new(ast::Filter { name: it.name, expr, args }, it.span()))
        }
        Expr::Test(it) => {
            let (expr, args) = (guard(READ, &it.expr), arguments(&it.args));
            Expr::Test(Spanned::new(ast::Test { name: it.name, expr, args }, it.span()))
        }
        Expr::GetAttr(it) => {
            Expr::GetAttr(Spanned::new(ast::GetAttr { expr: expression(&it.expr), name: it.name }, it.span()))
        }
        Expr::GetItem(it) => {
            let (expr, subscript_expr) = (expression(&it.expr), expression(&it.subscript_expr));
            Expr::GetItem(Spanned::new(ast::GetItem { expr, subscript_expr }, it.span()))
        }
        Expr::Call(it) => Expr::Call(call_of(it)),
        Expr::List(it) => {
            nested(Expr::List(Spanned::new(ast::List { items: expressions(&it.items) }, it.span())))
        }
        Expr::Tuple(it) => {
            nested(Expr::Tuple(Spanned::new(ast::Tuple { items: expressions(&it.items) }, it.span())))
        }
        Expr::Map(it) => {
            let (keys, values) = (expressions(&it.keys), expressions(&it.values));
            nested(Expr::Map(Spanned::new(ast::Map { keys, values }, it.span())))
        }
    }
}

fn slice<'a>(it: &ast::Slice<'a>) -> ast::Slice<'a> {
    let part = |part: &Option<Expr<'a>>| part.as_ref().map(expression);
    ast::Slice {
        expr: guard(READ, &it.expr),
        start: part(&it.start),
        stop: part(&it.stop),
        step: part(&it.step),
    }
}

fn if_expression<'a>(it: &ast::IfExpr<'a>) -> ast::IfExpr<'a> {
    ast::IfExpr {
        test_expr: expression(&it.test_expr),
        true_expr: expression(&it.true_expr),
        false_expr: it.false_expr.as_ref().map(expression),
    }
}

fn binary<'a>(it: &ast::BinOp<'a>, span: Span) -> Expr<'a> {
    let guarded = match it.op {
        BinOpKind::Add => ADD,
        BinOpKind::Concat => CONCAT,
        BinOpKind::Mul => MULTIPLY,
        op @ (BinOpKind::ScAnd | BinOpKind::ScOr) => {
            let (left, right) = (expression(&it.left), expression(&it.right));
            return Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span));
        }
        op => {
            let (left, right) = (guard(READ, &it.left), guard(READ, &it.right));
            return Expr::BinOp(Spanned::new(ast::BinOp { op, left, right }, span));
        }
    };
    call(guarded, vec![expression(&it.left), expression(&it.right)], span)
}

fn call_of<'a>(it: &Spanned<ast::Call<'a>>) -> Spanned<ast::Call<'a>> {
    Spanned::new(ast::Call { expr: expression(&it.expr), args: arguments(&it.args) }, it.span())
}

fn arguments<'a>(args: &[CallArg<'a>]) -> Vec<CallArg<'a>> {
    let argument = |arg: &CallArg<'a>| match arg {
        CallArg::Pos(value) => CallArg::Pos(expression(value)),
        CallArg::Kwarg(name, value) => CallArg::Kwarg(name, expression(value)),
        CallArg::PosSplat(value) => CallArg::PosSplat(guard(READ, value)),
        CallArg::KwargSplat(value) => CallArg::KwargSplat(guard(READ, value)),
    };
    args.iter().map(argument).collect()
}

/// `node`, passed through a guard. Constants need none.
fn guard<'a>(name: &'a str, node: &Expr<'a>) -> Expr<'a> {
    match expression(node) {
        value @ Expr::Const(_) => value,
        value => {
            let span = node.span();
            call(name, vec![value], span)
        }
    }
}

/// A literal with something in it.
fn nested(literal: Expr<'_>) -> Expr<'_> {
    if literal.as_const().is_some() {
        return literal;
    }
    let span = literal.span();
    call(NEST, vec![literal], span)
}

fn call<'a>(name: &'a str, args: Vec<Expr<'a>>, span: Span) -> Expr<'a> {
    let expr = Expr::Var(Spanned::new(ast::Var { id: name }, span));
    let args = args.into_iter().map(CallArg::Pos).collect();
    Expr::Call(Spanned::new(ast::Call { expr, args }, span))
}
