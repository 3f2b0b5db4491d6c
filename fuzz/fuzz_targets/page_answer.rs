//! Any answers lead an export on at its origin, to its end, or to an error that changes nothing.
#![no_main]

use evergrant::pages::{Json, PageRequest, Position, Rules, Step, Style, Walk};
use evergrant::reqwest::{Method, Url};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (style, answers) = input;
    let Ok(url) = Url::parse("https://api.example/base/api/v2/users?pageSize=2") else { unreachable!() };
    let style = Style::ALL.get(usize::from(style)).copied();
    let method = style.map_or(Method::GET, Style::method);
    let first = PageRequest { method, url: url.clone(), body: None };
    let rules = Rules { style, max_pages: Some(40), ..Rules::default() };
    let mut walk = Walk::new(first, rules, Position::default());
    for answer in answers.split('\0') {
        let before = walk.position().clone();
        match walk.handle_answer(answer) {
            Ok(Step::Page { items, .. }) => {
                items.into_iter().for_each(|range| drop(Json::parse(&answer[range]).map(|json| json.compact())));
            }
            Ok(Step::Job(_) | Step::Nothing) => {}
            Err(_) => assert_eq!(walk.position(), &before),
        }
        match walk.next_request() {
            Ok(Some(request)) => assert_eq!(request.url.origin(), url.origin()),
            Ok(None) => return,
            Err(error) => panic!("a place that was accepted leads nowhere: {error}"),
        }
    }
});
