use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use super::super::text::Json;
use super::*;

fn get(url: &str) -> PageRequest {
    PageRequest { method: Method::GET, url: Url::parse(url).unwrap(), body: None }
}

fn post(url: &str, body: Value) -> PageRequest {
    PageRequest { method: Method::POST, body: Some(body), ..get(url) }
}

/// What a walk asked for, how many items it got, and how it ended.
#[derive(PartialEq, Debug)]
struct Walked {
    asked: Vec<String>,
    items: u64,
    ended: Option<Ended>,
}

/// Walks through what `server` answers to each address and body; every position survives being written down.
fn walk(first: PageRequest, rules: Rules, server: impl Fn(&PageRequest) -> Value) -> Walked {
    let (mut walk, mut asked) = (Walk::new(first.clone(), rules.clone(), Position::default()), Vec::new());
    while let Some(request) = walk.next_request().unwrap() {
        let target = request.url.query().unwrap_or_else(|| request.url.path());
        let body = request.body.as_ref().map(|body| format!(" {body}")).unwrap_or_default();
        asked.push(format!("{target}{body}"));
        assert!(asked.len() < 200, "it does not end: {asked:?}");
        walk.handle_answer(&server(&request).to_string()).unwrap();
        let written = serde_json::to_string(walk.position()).unwrap();
        walk = Walk::new(first.clone(), rules.clone(), serde_json::from_str(&written).unwrap());
    }
    Walked { asked, items: walk.position().items, ended: walk.position().ended }
}

fn list(count: u64) -> Vec<u64> {
    (0..count).collect()
}

#[test]
fn numbered_pages_end_at_their_count_whatever_the_links_say() {
    let walked = walk(get("https://x/u?pageSize=2"), Rules::default(), |request| {
        let number = request.number("pageNumber").unwrap_or(1);
        json!({"entities": list(2), "pageNumber": number, "pageCount": 3, "total": 6, "nextUri": "/u?pageNumber=9"})
    });
    let asked = ["pageSize=2", "pageSize=2&pageNumber=2", "pageSize=2&pageNumber=3"].map(str::to_owned).to_vec();
    assert_eq!(walked, Walked { asked, items: 6, ended: Some(Ended::Complete) });
}

#[test]
fn numbered_pages_without_a_count_end_at_the_total_or_at_an_empty_page() {
    let ended_after = |total: Value| {
        let rules = Rules { style: Some(Style::Number), ..Rules::default() };
        walk(get("https://x/u?pageSize=2"), rules, |request| {
            let number = request.number("pageNumber").unwrap_or(1);
            let found = if number > 3 { Vec::new() } else { vec![number * 2, number * 2 + 1] };
            json!({"entities": found, "total": total})
        })
    };
    assert_eq!(ended_after(json!(6)).asked.len(), 3);
    let open = ended_after(Value::Null);
    assert_eq!((open.asked.len(), open.items, open.ended), (4, 6, Some(Ended::Complete)));
}

/// A server whose pages have `cap` items at most, whatever is asked for, and which tells how many there are: `total`. It has
/// `has` of them.
fn capped(request: &PageRequest, cap: u64, has: u64, total: u64) -> Value {
    let number = |name: &str| request.body_number(name).or_else(|| request.number(name));
    let (page, size) = (number("pageNumber").unwrap_or(1), number("pageSize").unwrap_or(cap).min(cap));
    let found: Vec<_> = ((page - 1) * size..(page * size).min(has)).collect();
    json!({"entities": found, "total": total})
}

#[test]
fn a_size_that_the_server_does_not_keep_to_is_no_end() {
    let (query, body) = (get("https://x/u?pageSize=500"), post("https://x/q", json!({"paging": {"pageSize": 500}})));
    for (style, first) in [(Style::Number, query), (Style::Query, body)] {
        let rules = Rules { style: Some(style), ..Rules::default() };
        let walked = walk(first, rules, |request| capped(request, 100, 1_000, 1_000));
        assert_eq!((walked.asked.len(), walked.items, walked.ended), (10, 1_000, Some(Ended::Complete)), "{style}");
    }
    let echoed = walk(get("https://x/u?pageSize=500"), Rules::default(), |request| {
        let mut answer = capped(request, 100, 1_000, 1_000);
        (answer["pageNumber"], answer["pageSize"]) = (json!(request.number("pageNumber").unwrap_or(1)), json!(500));
        answer
    });
    assert_eq!((echoed.items, echoed.ended), (1_000, Some(Ended::Complete)));
}

#[test]
fn an_api_that_counts_from_zero_is_asked_for_every_page_and_no_other() {
    for count in [json!({"pageCount": 3}), json!({"total": 6})] {
        let walked = walk(get("https://x/u?pageSize=2"), Rules::default(), |request| {
            let number = request.number("pageNumber").unwrap_or(0);
            let mut answer = json!({"entities": [number * 2, number * 2 + 1], "pageNumber": number});
            answer.as_object_mut().unwrap().extend(count.as_object().unwrap().clone());
            answer
        });
        let asked = ["pageSize=2", "pageSize=2&pageNumber=1", "pageSize=2&pageNumber=2"].map(str::to_owned).to_vec();
        assert_eq!(walked, Walked { asked, items: 6, ended: Some(Ended::Complete) }, "{count}");
    }
}

#[test]
fn an_empty_page_between_others_is_no_end_and_one_beyond_the_total_is() {
    let rules = || Rules { style: Some(Style::Number), ..Rules::default() };
    let walked = walk(get("https://x/u?pageSize=2"), rules(), |request| {
        let number = request.number("pageNumber").unwrap_or(1);
        json!({"entities": if number == 2 { vec![] } else { vec![number, number + 10] }, "total": 8})
    });
    assert_eq!((walked.asked.len(), walked.ended), (5, Some(Ended::Complete)), "{walked:?}");
    let unseen = walk(get("https://x/u?pageSize=2"), rules(), |request| capped(request, 2, 5, 8));
    assert_eq!((unseen.asked.len(), unseen.items, unseen.ended), (4, 5, Some(Ended::Complete)));
}

#[test]
fn what_a_complete_collection_lacks_of_its_total_is_told() {
    let missing = |first: PageRequest, rules: Rules, server: &dyn Fn(&PageRequest) -> Value| {
        let mut walk = Walk::new(first, rules, Position::default());
        while let Some(request) = walk.next_request().unwrap() {
            walk.handle_answer(&server(&request).to_string()).unwrap();
        }
        walk.position().missing
    };
    let rules = |max_items| Rules { style: Some(Style::Number), max_items, ..Rules::default() };
    let (from_the_first, from_the_second) = (get("https://x/u?pageSize=2"), get("https://x/u?pageSize=2&pageNumber=2"));
    assert_eq!(missing(from_the_first.clone(), rules(None), &|request| capped(request, 2, 5, 8)), 3);
    assert_eq!(missing(from_the_first.clone(), rules(None), &|request| capped(request, 2, 8, 8)), 0);
    assert_eq!(missing(from_the_first, rules(Some(3)), &|request| capped(request, 2, 8, 8)), 0, "it was cut");
    assert_eq!(missing(from_the_second, rules(None), &|request| capped(request, 2, 8, 8)), 0, "it was not asked for");
    assert_eq!(missing(get("https://x/u"), Rules::default(), &|_| json!({"entities": list(100), "total": 250})), 150);
    let cursor = json!({"entities": list(3), "cursor": null, "total": 9});
    let by_cursor = Rules { style: Some(Style::Cursor), ..Rules::default() };
    assert_eq!(missing(get("https://x/u"), by_cursor, &|_| cursor.clone()), 0);
}

#[test]
fn a_total_that_falls_ends_where_the_pages_do() {
    // Of 1,000 things 400 are deleted after the fifth page of 100.
    let rules = Rules { style: Some(Style::Number), ..Rules::default() };
    let first = get("https://x/u?pageSize=100");
    let mut walk = Walk::new(first, rules, Position::default());
    while let Some(request) = walk.next_request().unwrap() {
        let has = if walk.position().pages < 5 { 1_000 } else { 600 };
        walk.handle_answer(&capped(&request, 100, has, has).to_string()).unwrap();
    }
    let Position { pages, items, missing, ended, .. } = walk.position();
    assert_eq!((*pages, *items, *missing, *ended), (6, 600, 0, Some(Ended::Complete)));
}

#[test]
fn a_bound_on_empty_pages_is_no_end_under_a_higher_one() {
    let server = |request: &PageRequest| {
        let at = request.number("at").unwrap_or(0);
        json!({"entities": if at == 5 { vec![at] } else { vec![] }, "nextUri": (at < 5).then(|| format!("/u?at={}", at + 1))})
    };
    let rules = |max_empty_pages| Rules { max_empty_pages, ..Rules::default() };
    let walked = |position: Position, most| {
        let mut walk = Walk::new(get("https://x/u"), rules(most), position);
        while let Some(request) = walk.next_request().unwrap() {
            walk.handle_answer(&server(&request).to_string()).unwrap();
        }
        walk.position().clone()
    };
    let three = walked(Position::default(), 3);
    assert_eq!((three.pages, three.ended), (3, Some(Ended::EmptyPages)));
    assert!(three.is_done(&rules(3)) && three.is_done(&rules(2)) && !three.is_done(&rules(4)));
    let all = walked(three, 9);
    assert_eq!((all.pages, all.items, all.ended), (6, 1, Some(Ended::Complete)));
    assert!(all.is_done(&rules(99)));
}

#[test]
fn a_count_of_no_pages_is_no_end_where_there_are_items() {
    let walked = walk(get("https://x/u?pageSize=2"), Rules::default(), |request| {
        let number = request.number("pageNumber").unwrap_or(1);
        json!({"entities": [number * 2, number * 2 + 1], "pageNumber": number, "pageCount": 0, "total": 6})
    });
    assert_eq!((walked.asked.len(), walked.items, walked.ended), (3, 6, Some(Ended::Complete)));
    let linked = walk(get("https://x/u"), Rules::default(), |request| {
        let at = request.number("at").unwrap_or(0);
        json!({"entities": [at], "pageNumber": 1, "pageCount": 0, "total": 0, "nextUri": (at < 2).then(|| format!("/u?at={}", at + 1))})
    });
    assert_eq!((linked.items, linked.ended), (3, Some(Ended::Complete)));
}

#[test]
fn a_last_page_that_comes_again_is_not_taken_twice() {
    let clamped = walk(
        get("https://x/u"),
        Rules { style: Some(Style::Number), ..Rules::default() },
        |request| json!({"entities": [request.number("pageNumber").unwrap_or(1).min(3)]}),
    );
    assert_eq!((clamped.items, clamped.ended), (3, Some(Ended::Repeated)));
    let named = walk(get("https://x/u"), Rules::default(), |request| {
        let number = request.number("pageNumber").unwrap_or(1).min(3);
        json!({"entities": [number], "pageNumber": number, "pageCount": 9})
    });
    assert_eq!((named.items, named.ended), (3, Some(Ended::Repeated)));
}

#[test]
fn equal_pages_of_a_counted_collection_are_all_taken() {
    let walked = walk(get("https://x/u"), Rules::default(), |request| {
        let number = request.number("pageNumber").unwrap_or(1);
        json!({"entities": ["same"], "pageNumber": number, "pageCount": 4, "total": 4})
    });
    assert_eq!((walked.items, walked.ended), (4, Some(Ended::Complete)));
}

#[test]
fn a_cursor_leads_on_until_there_is_none() {
    for (name, parameter) in [("cursor", "cursor"), ("nextCursor", "cursor"), ("after", "after")] {
        let walked = walk(get("https://x/u?a=1"), Rules::default(), |request| {
            let at = request.number(parameter).unwrap_or(0);
            let next = if at < 2 { json!((at + 1).to_string()) } else { Value::Null };
            json!({"entities": [at], name: next})
        });
        let asked = vec!["a=1".to_owned(), format!("a=1&{parameter}=1"), format!("a=1&{parameter}=2")];
        assert_eq!(walked, Walked { asked, items: 3, ended: Some(Ended::Complete) });
    }
}

#[test]
fn links_end_where_there_is_none_and_when_they_are_endless() {
    let linked = |next: &dyn Fn(u64) -> Option<u64>, count: &dyn Fn(u64) -> u64| {
        walk(get("https://x/u"), Rules::default(), |request| {
            let at = request.number("at").unwrap_or(0);
            let items: Vec<_> = (0..count(at)).map(|index| at * 10 + index).collect();
            json!({"entities": items, "nextUri": next(at).map(|next| format!("/u?at={next}"))})
        })
    };
    let good = linked(&|at| (at < 2).then_some(at + 1), &|_| 5);
    assert_eq!((good.asked.len(), good.items, good.ended), (3, 15, Some(Ended::Complete)));
    let endless = linked(&|at| Some(at + 1), &|at| if at < 2 { 5 } else { 0 });
    assert_eq!((endless.asked.len(), endless.items, endless.ended), (5, 10, Some(Ended::EmptyPages)));
    let same = linked(&|at| Some((at + 1).min(2)), &|_| 5);
    assert_eq!((same.items, same.ended), (15, Some(Ended::Repeated)));
    let circle = linked(&|at| Some((at + 1) % 3), &|_| 5);
    assert_eq!(circle.ended, Some(Ended::Repeated));
    assert!(circle.items <= 20, "{circle:?}");
}

#[test]
fn scim_counts_what_came_and_not_what_was_announced() {
    let walked = walk(get("https://x/scim/v2/Users?count=50"), Rules::default(), |request| {
        let start = request.number("startIndex").unwrap_or(1);
        let found: Vec<_> = (start..=(start + 1).min(5)).collect();
        json!({"totalResults": 5, "startIndex": start, "itemsPerPage": 50, "Resources": found})
    });
    let asked = ["count=50", "count=50&startIndex=3", "count=50&startIndex=5"].map(str::to_owned).to_vec();
    assert_eq!(walked, Walked { asked, items: 5, ended: Some(Ended::Complete) });
}

#[test]
fn a_query_pages_in_its_body() {
    let first = post("https://x/q", json!({"interval": "i", "paging": {"pageSize": 2}}));
    let walked = walk(first, Rules::default(), |request| {
        let number = request.body_number("pageNumber").unwrap_or(1);
        json!({"conversations": if number < 3 { list(2) } else { list(1) }, "totalHits": 5})
    });
    assert_eq!((walked.asked.len(), walked.items, walked.ended), (3, 5, Some(Ended::Complete)));
    assert_eq!(walked.asked[2], r#"/q {"interval":"i","paging":{"pageNumber":3,"pageSize":2}}"#);
    let nothing = walk(post("https://x/q", json!({})), Rules::default(), |_| json!({}));
    assert_eq!((nothing.asked.len(), nothing.items, nothing.ended), (1, 0, Some(Ended::Complete)));
}

#[test]
fn a_post_of_whose_pages_nobody_speaks_is_sent_once_unless_it_only_reads() {
    let asked = |body: Value, rules: Rules, told: Value| {
        let server = |request: &PageRequest| {
            let mut answer = told.clone();
            answer["results"] = if request.body_number("pageNumber") == Some(2) { json!([]) } else { json!([1]) };
            answer
        };
        walk(post("https://x/things", body), rules, server).asked.len()
    };
    let (unsaid, paged) = (json!({"name": "n"}), json!({"paging": {"pageSize": 1}}));
    assert_eq!(asked(unsaid.clone(), Rules::default(), json!({})), 1);
    assert_eq!(asked(unsaid.clone(), Rules { only_reads: true, ..Rules::default() }, json!({})), 2);
    assert_eq!(asked(unsaid.clone(), Rules { style: Some(Style::Query), ..Rules::default() }, json!({})), 2);
    assert_eq!(asked(unsaid, Rules::default(), json!({"total": 2})), 2);
    assert_eq!(asked(paged, Rules::default(), json!({})), 2);
}

#[test]
fn a_search_pages_at_the_top_of_its_body() {
    let walked = walk(post("https://x/search", json!({"query": []})), Rules::default(), |request| {
        let number = request.body_number("pageNumber").unwrap_or(1);
        json!({"results": [number], "pageNumber": number, "pageCount": 2, "total": 2})
    });
    assert_eq!(walked.asked[1], r#"/search {"pageNumber":2,"query":[]}"#);
}

#[test]
fn a_job_is_made_once_waited_for_and_read_by_its_cursor() {
    let states = std::cell::Cell::new(0);
    let walked = walk(post("https://x/jobs", json!({})), Rules::default(), |request| {
        if request.method == Method::POST {
            return json!({"jobId": "j1"});
        }
        if request.url.path() == "/jobs/j1" {
            states.set(states.get() + 1);
            return json!({"state": if states.get() < 3 { "PENDING" } else { "FULFILLED" }});
        }
        let at = request.number("cursor").unwrap_or(0);
        json!({"conversations": [at], "cursor": (at < 1).then(|| (at + 1).to_string())})
    });
    let asked = ["/jobs {}", "/jobs/j1", "/jobs/j1", "/jobs/j1", "/jobs/j1/results", "cursor=1"];
    assert_eq!(walked, Walked { asked: asked.map(str::to_owned).to_vec(), items: 2, ended: Some(Ended::Complete) });
}

#[test]
fn a_job_that_failed_says_why() {
    let mut walk = Walk::new(post("https://x/jobs", json!({})), Rules::default(), Position::default());
    walk.handle_answer(r#"{"jobId":"j1"}"#).unwrap();
    let error = walk.handle_answer(r#"{"state":"FAILED","errorMessage":"too long"}"#).unwrap_err();
    assert_eq!(error.to_string(), "the job j1 ended as FAILED: too long");
    assert_eq!(walk.position().next, Next::Job("j1".to_owned()));
}

#[test]
fn the_callers_bounds_hold_and_more_pages_go_on() {
    let server = |request: &PageRequest| {
        let number = request.number("pageNumber").unwrap_or(1);
        json!({"entities": list(4), "pageNumber": number, "pageCount": 5, "total": 20})
    };
    let items = walk(get("https://x/u"), Rules { max_items: Some(6), ..Rules::default() }, server);
    assert_eq!((items.asked.len(), items.items, items.ended), (2, 6, Some(Ended::MaxItems)));
    let all = walk(get("https://x/u"), Rules { max_items: Some(20), ..Rules::default() }, server);
    assert_eq!((all.items, all.ended), (20, Some(Ended::Complete)));
    let rules = |most| Rules { max_pages: Some(most), ..Rules::default() };
    let mut two = Walk::new(get("https://x/u"), rules(2), Position::default());
    while let Some(request) = two.next_request().unwrap() {
        two.handle_answer(&server(&request).to_string()).unwrap();
    }
    assert_eq!((two.position().items, two.position().ended), (8, Some(Ended::MaxPages)));
    let more = Walk::new(get("https://x/u"), rules(3), two.position().clone());
    assert_eq!(more.next_request().unwrap().unwrap().url.query(), Some("pageNumber=3"));
    assert_eq!(Walk::new(get("https://x/u"), rules(2), two.position().clone()).next_request(), Ok(None));
}

#[test]
fn a_total_that_falls_is_told() {
    let mut walk = Walk::new(get("https://x/u"), Rules::default(), Position::default());
    let page = |number: u64, total: u64| {
        json!({"entities": list(2), "pageNumber": number, "pageCount": 9, "total": total}).to_string()
    };
    let mut lost = |number, total| match walk.handle_answer(&page(number, total)).unwrap() {
        Step::Page { lost, .. } => lost,
        other @ (Step::Job(_) | Step::Nothing) => panic!("{other:?}"),
    };
    assert_eq!([lost(1, 18), lost(2, 15), lost(3, 16)], [0, 3, 0]);
}

#[test]
fn what_is_no_page_is_named_and_changes_nothing() {
    let mut walk = Walk::new(get("https://x/u"), Rules::default(), Position::default());
    let mut said = |body: &str| walk.handle_answer(body).unwrap_err().to_string();
    assert_eq!(said("<html>"), "the answer is no JSON: line 1, column 1");
    assert_eq!(said(r#"{"a":[],"b":[]}"#), "no list of items is found in the answer; its fields are a, b");
    assert_eq!(
        said(r#"{"entities":[],"nextUri":"https://evil.example/u"}"#),
        "the next page is said to be at https://evil.example, and the token is for https://x alone"
    );
    assert_eq!(walk.position(), &Position::default());
    let rules = Rules { items: Some(JsonPath::new("data.users")), ..Rules::default() };
    let mut placed = Walk::new(get("https://x/u"), rules, Position::default());
    let said = placed.handle_answer(r#"{"data":{"groups":[]}}"#).unwrap_err().to_string();
    assert_eq!(said, "there is no list at `/data/users` of the answer; its fields are data");
    let said = placed.handle_answer(r#"{"total":5,"users":[1]}"#).unwrap_err().to_string();
    assert_eq!(said, "there is no list at `/data/users` of the answer; its fields are total, users");
}

#[test]
fn items_are_where_they_are_known_to_be_or_in_the_only_list() {
    let items = |body: &str| {
        let mut walk = Walk::new(get("https://x/u"), Rules::default(), Position::default());
        match walk.handle_answer(body).unwrap() {
            Step::Page { items, .. } => items.into_iter().map(|range| body[range].to_owned()).collect::<Vec<_>>(),
            other @ (Step::Job(_) | Step::Nothing) => panic!("{other:?}"),
        }
    };
    assert_eq!(items(r#"{"warnings":[9],"entities":[1, {"a":  2}]}"#), ["1", r#"{"a":  2}"#]);
    assert_eq!(items(r#"{"users":[1,2],"x":{}}"#), ["1", "2"]);
    assert_eq!(items("[1,2]"), ["1", "2"]);
    assert_eq!(items(r#"{"total":0}"#), [""; 0]);
}

/// A field of an answer, with a name that means something and a value that may not.
fn field() -> impl Strategy<Value = (&'static str, Value)> {
    let names = [
        "entities",
        "Resources",
        "conversations",
        "other",
        "pageNumber",
        "pageCount",
        "pageSize",
        "total",
        "totalHits",
        "totalResults",
        "startIndex",
        "cursor",
        "cursors",
        "after",
        "nextUri",
        "next",
        "jobId",
        "id",
        "state",
    ];
    let values = prop_oneof![
        (0..4_u64).prop_map(|count| json!(list(count))),
        (0..6_u64).prop_map(|number| json!(number)),
        Just(json!(u64::MAX)),
        Just(json!(-1)),
        Just(json!(null)),
        Just(json!({"after": "x"})),
        prop::sample::select(vec![
            "",
            "1",
            "/u?at=2",
            "?at=3",
            "https://x/u",
            "https://evil.example/u",
            "//evil.example",
            "\u{0}",
            "PENDING",
            "FULFILLED",
            "FAILED",
            "../..",
            "a/b",
        ])
        .prop_map(|text| json!(text)),
    ];
    (prop::sample::select(names.to_vec()), values)
}

proptest! {
    #[test]
    fn any_answers_lead_on_at_the_origin_or_change_nothing(
        style in prop::option::of(prop::sample::select(Style::ALL.to_vec())),
        answers in prop::collection::vec(prop::collection::vec(field(), 0..6), 1..20),
    ) {
        let method = style.map_or(Method::GET, Style::method);
        let first = PageRequest { method, ..get("https://x/base/u?a=1") };
        let mut walk = Walk::new(first.clone(), Rules { style, ..Rules::default() }, Position::default());
        for fields in answers {
            let fields: serde_json::Map<_, _> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let (body, before) = (Value::Object(fields).to_string(), walk.position().clone());
            match walk.handle_answer(&body) {
                Ok(Step::Page { items, .. }) => {
                    prop_assert!(items.iter().all(|range| Json::parse(&body[range.clone()]).is_ok()));
                    prop_assert_eq!(walk.position().items, before.items + items.len() as u64);
                }
                Ok(Step::Job(_) | Step::Nothing) => prop_assert_eq!(walk.position().items, before.items),
                Err(_) => prop_assert_eq!(walk.position(), &before),
            }
            let written = serde_json::to_string(walk.position()).unwrap();
            prop_assert_eq!(walk.position(), &serde_json::from_str::<Position>(&written).unwrap());
            match walk.next_request().unwrap() {
                Some(request) => prop_assert_eq!(request.url.origin(), first.url.origin()),
                None => break,
            }
        }
    }
}
