use serde_json::json;

use super::*;

fn conversation() -> Vec<Message> {
    [("system", "Be brief."), ("user", "Hi "), ("assistant", "Hello."), ("user", "Who are you?")]
        .map(|(role, content)| Message::new(role, content))
        .to_vec()
}

#[track_caller]
fn check(source: &str, expect: &str) {
    let messages = conversation();
    let render = Render {
        add_generation_prompt: true,
        bos_token: "<s>",
        eos_token: "</s>",
        now_s: Some(1_735_689_599),
        ..Render::of(&messages)
    };
    let text = ChatTemplate::new(source).and_then(|template| template.render(&render));
    assert_eq!(text.as_deref(), Ok(expect));
}

#[track_caller]
fn refused(source: &str) -> Error {
    let messages = conversation();
    let text = ChatTemplate::new(source).and_then(|template| template.render(&Render::of(&messages)));
    text.expect_err("the template should be refused")
}

#[track_caller]
fn check_bomb(source: &str) {
    let error = refused(source);
    assert!(matches!(error, Error::TemplateBomb { .. }), "{source}: {error}");
}

/// `for k, v in x|items` stands in the templates of many models that call tools.
#[test]
fn several_names_are_assigned_at_once() {
    check(
        "{% for role, text in messages|map('items')|map('map', 'last') %}{{ text }}{% endfor %}",
        "Be brief.Hi Hello.Who are you?",
    );
    check("{% for k, v in {'a': 1, 'b': [2]}|items %}{{ k }}={{ v }};{% endfor %}", "a=1;b=[2];");
    check("{% for (a, (b, c)) in [[1, [2, 3]]] %}{{ a + b + c }}{% endfor %}", "6");
    check("{% set a, b = 1, 'x' %}{{ b * 2 ~ a }}", "xx1");
    check("{% set n = namespace(a=1) %}{% set n.a, b = b, n.a %}{{ b }}{{ n.a is undefined }}", "1True");
    check("{% with (a, b) = [1, 2] %}{{ a }}{{ b }}{% endwith %}", "12");
    assert!(matches!(refused("{% for a, b in [[1]] %}{% endfor %}"), Error::TemplateFailed { .. }));
    let doubling = "{% set n = namespace(a=[]) %}{% for i in range(900) %}{% set n.a, x = [n.a], 1 %}{% endfor %}{{ n.a|tojson }}";
    refused(doubling);
}

#[test]
fn chat_ml_is_the_documented_choice() {
    check(
        CHAT_ML,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|>\n\
         <|im_start|>assistant\nHello.<|im_end|>\n<|im_start|>user\nWho are you?<|im_end|>\n\
         <|im_start|>assistant\n",
    );
    assert_eq!(ChatTemplate::of_model(None).unwrap_err(), Error::NoTemplate);
    assert!(ChatTemplate::named("chatml").is_ok());
    assert!(matches!(ChatTemplate::named("x"), Err(Error::UnknownTemplate { .. })));
}

#[test]
fn llama_2_puts_the_system_into_the_first_turn() {
    check(
        "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
         {% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
         {% set system_message = false %}{% endif %}{% for message in loop_messages %}\
         {% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
         {{ raise_exception('Conversation roles must alternate!') }}{% endif %}\
         {% if loop.index0 == 0 and system_message != false %}\
         {% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}\
         {% else %}{% set content = message['content'] %}{% endif %}\
         {% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
         {% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
         {% endfor %}",
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello. </s><s>[INST] Who are you? [/INST]",
    );
}

#[test]
fn llama_3_has_headers_and_a_date() {
    check(
        "{{- bos_token }}\n{%- if strftime_now is defined %}\n  {%- set date = strftime_now('%d %b %Y') %}\n\
         {%- else %}\n  {%- set date = '26 Jul 2024' %}\n{%- endif %}\n{%- for m in messages %}\n\
         {{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' }}\n\
         {%- if loop.first %}{{- 'Today Date: ' + date + '\\n\\n' }}{%- endif %}\n\
         {{- m['content'] | trim + '<|eot_id|>' }}\n{%- endfor %}\n\
         {%- if add_generation_prompt %}\n{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
        "<s><|start_header_id|>system<|end_header_id|>\n\nToday Date: 31 Dec 2024\n\nBe brief.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\nHello.<|eot_id|>\
         <|start_header_id|>user<|end_header_id|>\n\nWho are you?<|eot_id|>\
         <|start_header_id|>assistant<|end_header_id|>\n\n",
    );
}

#[test]
fn gemma_has_turns_of_a_model() {
    check(
        "{{ bos_token }}{% for message in messages if message.role != 'system' %}\n\
         {% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\n\
         {{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}\n\
         {% endfor %}\n{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}",
        "<s><start_of_turn>user\nHi<end_of_turn>\n\n<start_of_turn>model\nHello.<end_of_turn>\n\n\
         <start_of_turn>user\nWho are you?<end_of_turn>\n\n<start_of_turn>model\n",
    );
}

#[test]
fn phi_3_has_a_token_for_each_role() {
    check(
        "{% for message in messages %}{% if message['role'] in ['system', 'user', 'assistant'] %}\
         {{ '<|' ~ message.role ~ '|>\\n' ~ message.content ~ '<|end|>\\n' }}{% endif %}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nHi <|end|>\n<|assistant|>\nHello.<|end|>\n\
         <|user|>\nWho are you?<|end|>\n<|assistant|>\n",
    );
}

#[test]
fn mistral_keeps_state_in_a_namespace_and_a_macro() {
    check(
        "{%- macro turn(text) -%}[INST] {{ text.strip() }}[/INST]{%- endmacro -%}\n\
         {%- set ns = namespace(index=0, users=messages|selectattr('role', 'equalto', 'user')|list|length) -%}\n\
         {{- bos_token }}\n{%- for m in messages %}\n{%- if m.role == 'user' %}\n{%- set ns.index = ns.index + 1 %}\n\
         {{- turn(m.content) }}{{ '(' ~ ns.index ~ '/' ~ ns.users ~ ')' }}\n\
         {%- elif m.role == 'assistant' %}{{- ' ' + m.content + eos_token }}\n{%- endif %}\n{%- endfor %}",
        "<s>[INST] Hi[/INST](1/2) Hello.</s>[INST] Who are you?[/INST](2/2)",
    );
}

#[test]
fn tools_are_written_as_python_does() {
    let tool = json!({"type": "function", "function": {"name": "f<x>", "parameters": {"b": 1, "a": [1.5, null, "é'"]}}});
    let call = json!([{"id": "c1", "function": {"name": "f", "arguments": {"z": true}}}]);
    let messages = [Message::new("assistant", "").with("tool_calls", call)];
    let tools = [tool];
    let render = Render { tools: &tools, ..Render::of(&messages) };
    let template = "{% if tools %}{{ tools | tojson }}\n{% endif %}{% for c in messages[0].tool_calls %}\
                    {{ c.function.name }}({{ c.function.arguments | tojson(indent=2) }}){% endfor %}";
    assert_eq!(
        ChatTemplate::new(template).and_then(|template| template.render(&render)).as_deref(),
        Ok("[{\"type\": \"function\", \"function\": {\"name\": \"f<x>\", \"parameters\": \
            {\"b\": 1, \"a\": [1.5, null, \"é'\"]}}}]\nf({\n  \"z\": true\n})"),
    );
}

#[test]
fn a_template_refuses_in_its_own_words() {
    let error = refused("{{ raise_exception('Only user and assistant roles') }}");
    assert_eq!(error, Error::TemplateRaised { message: "Only user and assistant roles".into() });
}

#[test]
fn errors_have_their_line() {
    assert!(matches!(refused("a\n{% if %}"), Error::BadTemplate { line: 2, .. }));
    assert!(matches!(refused("a\n\n{{ missing.field }}"), Error::TemplateFailed { line: 3, .. }));
    assert!(matches!(refused("{{ strftime_now('%Y') }}"), Error::TemplateFailed { .. }));
    for other in
        ["{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% block b %}{% endblock %}"]
    {
        assert!(matches!(refused(other), Error::BadTemplate { .. }), "{other}");
    }
    assert!(matches!(refused(&"x".repeat(TEMPLATE_BYTES_MAX + 1)), Error::TooLarge { .. }));
}

#[test]
fn bombs_of_loops_die() {
    check_bomb(
        "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    );
    check_bomb(
        "{% for a in range(9999) %}{% set x = range(9999) | list %}{% for b in x %}{% endfor %}{% endfor %}",
    );
    check_bomb("{% for a in range(9999) %}{{ range(9999) | map('string') | join }}{% endfor %}");
    assert!(matches!(refused("{{ range(1000000000) }}"), Error::TemplateFailed { .. }));
}

#[test]
fn bombs_of_memory_die() {
    check_bomb("{{ 'a' * 1000000000 }}");
    check_bomb("{{ 1000000000 * 'a' }}");
    check_bomb("{{ [0] * 1000000000 }}");
    let double = |body: &str| {
        format!("{{% set ns = namespace(x='aaaa') %}}{{% for i in range(99) %}}{body}{{% endfor %}}")
    };
    check_bomb(&double("{% set ns.x = ns.x ~ ns.x %}"));
    check_bomb(&double("{% set ns.x = ns.x + ns.x %}"));
    check_bomb(&double("{% set ns.x = [ns.x, ns.x] | join %}"));
    check_bomb(&double("{% set ns.x = ns.x | replace('a', 'aaaa') %}"));
    check_bomb(&double("{% set ns.x = ns.x.replace('a', 'aaaa') %}"));
    check_bomb(&double("{% set ns.x = ns.x * 2 %}"));
    check_bomb(&double("{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"));
    check_bomb(&double("{% set ns.x = ns.x | list | tojson %}"));
    check_bomb(&double("{% set ns.x = ns.x.join(['', '', '']) %}"));
    let list =
        "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
    check_bomb(list);
    let nested = refused(&double("{% set ns.x = [ns.x, ns.x] %}"));
    assert!(matches!(nested, Error::TemplateBomb { .. } | Error::TemplateFailed { .. }), "{nested}");
    let raw = format!("{{% for i in range(9999) %}}{}{{% endfor %}}", "x".repeat(100_000));
    check_bomb(&raw);
}

#[test]
fn nothing_holds_itself_or_is_too_deep_for_the_stack() {
    for source in [
        "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
        "{% set ns = namespace() %}{% set ns.x = {'a': ns} %}{{ ns }}",
        "{% set ns = namespace() %}{% set y = dict(a=ns) %}{{ y }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(9999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{{ '%99999999d' | format(1) }}",
        "{{ '{:99999999}'.format(1) }}",
    ] {
        let error = refused(source);
        assert!(matches!(error, Error::TemplateFailed { .. }), "{source}: {error}");
    }
    let chain = format!("{{{{ a{} }}}}", "+a".repeat(40_000));
    let filters = format!("{{{{ a{} }}}}", "|trim".repeat(20_000));
    let brackets = format!("{{{{ {}{} }}}}", "[".repeat(50_000), "]".repeat(50_000));
    let elifs = format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(8_000));
    let ifs = format!("{}{}", "{% if a %}".repeat(5_000), "{% endif %}".repeat(5_000));
    for source in [chain, filters, brackets, elifs, ifs] {
        assert!(matches!(refused(&source), Error::BadTemplate { .. }), "{:.40}", source);
    }
}

#[test]
fn a_template_may_be_long_and_use_much() {
    let messages: Vec<_> =
        (0..400).map(|at| Message::new("user", &format!("{at} {}", "word ".repeat(200)))).collect();
    let source = "{% set ns = namespace(text='') %}{% for m in messages %}{% set ns.text = ns.text + m.content %}{% endfor %}{{ ns.text }}";
    let text = ChatTemplate::new(source).and_then(|template| template.render(&Render::of(&messages)));
    assert_eq!(
        text.map(|text| text.len()),
        Ok(messages.iter().map(|m| m.0["content"].as_str().map_or(0, str::len)).sum())
    );
}

#[test]
fn what_callers_write_is_data() {
    let messages = [Message::new("user", "{{ raise_exception('x') }}{% for %}")];
    let text = ChatTemplate::chat_ml().render(&Render::of(&messages));
    assert_eq!(text.as_deref(), Ok("<|im_start|>user\n{{ raise_exception('x') }}{% for %}<|im_end|>\n"));
}
