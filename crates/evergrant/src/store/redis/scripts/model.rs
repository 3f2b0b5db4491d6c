//! The scripts on a real server beside the model of them that the simulation uses: whatever is done, both answer the same.

use evergrant_core::time::{Boot, Span};
use evergrant_sim::fleet::store::{Acquired, FleetStore, Written};
use redis::Script;
use redis::aio::MultiplexedConnection;

use super::{ACQUIRE, HEARTBEAT, READ, RELEASE, WRITE, WRITE_BACK};

#[path = "../../../../tests/shared/redis_server.rs"]
mod redis_server;

/// Longer than the test: what ends, ends because it is told to.
const TTL: Span = Span::from_secs(600);

/// One credential on the server and in the model.
struct Pair {
    connection: MultiplexedConnection,
    keys: [String; 3],
    model: FleetStore<String>,
    now: Boot,
    luck: u64,
}

impl Pair {
    /// A number below this one.
    fn below(&mut self, bound: u64) -> u64 {
        self.luck = self.luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.luck >> 33) % bound
    }

    async fn run<T: redis::FromRedisValue>(&mut self, script: &str, keys: usize, words: &[String]) -> T {
        let script = Script::new(script);
        let mut call = script.prepare_invoke();
        self.keys[..keys].iter().for_each(|key| _ = call.key(key));
        words.iter().for_each(|word| _ = call.arg(word));
        call.invoke_async(&mut self.connection).await.unwrap()
    }

    async fn delete(&mut self, keys: &[usize]) {
        let mut command = redis::cmd("DEL");
        keys.iter().for_each(|key| _ = command.arg(&self.keys[*key]));
        let _: i64 = command.query_async(&mut self.connection).await.unwrap();
    }

    /// Something that a member may do, with right and wrong numbers.
    async fn act(&mut self) -> String {
        self.now = self.now + Span::from_millis(5);
        let now = self.now;
        let who = self.below(3);
        let (owner, member) = (format!("o{who} process {who}"), format!("m{who}"));
        let (fence, generation, base) = (self.below(6), self.below(5), self.below(5));
        let entry = format!("entry {}", self.below(4));
        let ttl = TTL.as_millis().to_string();
        let text = |number: u64| number.to_string();
        match self.below(9) {
            0..=2 => {
                let words = [owner.clone(), ttl, text(fence), text(generation), member.clone()];
                let told: (i64, i64, i64, String, String, i64, String) = self.run(ACQUIRE, 3, &words).await;
                match self.model.acquire(&owner, &member, TTL, (fence, generation), now) {
                    Acquired::Yes { fence, entry } => {
                        assert_eq!((told.0, told.3, told.4), (1, text(fence), entry.unwrap_or_default()));
                    }
                    Acquired::No { holder, fence, left, waiting } => {
                        assert_eq!((told.0, told.3, told.4), (0, holder, text(fence)));
                        assert!(told.5 > 0 && told.5 <= TTL.as_millis() && left <= TTL);
                        let mut names: Vec<_> = told.6.split(' ').map(str::to_owned).collect();
                        let mut ours = waiting;
                        names.sort();
                        ours.sort();
                        assert_eq!(names, ours);
                    }
                    Acquired::Behind => assert_eq!(told.0, -1),
                }
                format!("{owner} acquires, knows f{fence} g{generation}")
            }
            3 => {
                let words = [owner.clone(), ttl, text(fence)];
                let told: i64 = self.run(HEARTBEAT, 2, &words).await;
                assert_eq!(told == 1, self.model.heartbeat(&owner, TTL, fence, now));
                format!("{owner} beats with f{fence}")
            }
            4 | 5 => {
                let is_last = self.below(2) == 1;
                let words = [
                    owner.clone(),
                    ttl,
                    text(fence),
                    text(base),
                    text(generation),
                    entry.clone(),
                    "channel".to_owned(),
                    text(u64::from(is_last)),
                ];
                let (code, stored): (i64, u64) = self.run(WRITE, 2, &words).await;
                match self.model.write(&owner, TTL, (fence, base), generation, &entry, is_last, now) {
                    Written::Yes(_) => assert_eq!((code, stored), (1, generation)),
                    Written::Superseded(newer) => assert_eq!((code, stored), (0, newer)),
                    Written::Taken(newer) => assert_eq!((code, stored), (-1, newer)),
                }
                format!("{owner} writes `{entry}` g{generation} on g{base} with f{fence}, last {is_last}")
            }
            6 => {
                let words = [owner.clone(), "channel".to_owned(), member.clone()];
                let told: i64 = self.run(RELEASE, 3, &words).await;
                assert_eq!(told == 1, self.model.release(&owner, &member, now));
                format!("{owner} gives back")
            }
            7 => {
                let words = [ttl, text(fence), text(generation), entry.clone(), "channel".to_owned()];
                let told: i64 = self.run(WRITE_BACK, 2, &words).await;
                assert_eq!(told == 1, self.model.write_back(TTL, fence, generation, &entry, now));
                format!("`{entry}` g{generation} is written back with f{fence}")
            }
            _ if self.below(4) == 0 => {
                self.delete(&[0, 1, 2]).await;
                self.model.lose_everything();
                "everything is lost".to_owned()
            }
            _ => {
                // A lease that nobody renews, and who had waited for it.
                self.delete(&[0, 2]).await;
                self.now = self.now + TTL.scaled(3, 1);
                "the lease ends".to_owned()
            }
        }
    }

    async fn compare(&mut self) {
        // The record's key is the first of the script.
        let script = Script::new(READ);
        let mut call = script.prepare_invoke();
        let read = call.key(&self.keys[1]).invoke_async(&mut self.connection);
        let (_, _, generation, entry): (i64, i64, u64, String) = read.await.unwrap();
        let (ours, our_entry) = self.model.read();
        assert_eq!((generation, entry), (ours, our_entry.unwrap_or_default()));
    }
}

#[tokio::test]
async fn the_model_of_the_simulation_answers_as_the_scripts_on_a_real_server_do() {
    let server = redis_server::RedisServer::start(&[]);
    let connection = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for seed in 0..300_u64 {
        let keys = ["lease", "record", "waiting"].map(|key| format!("{{{seed}}}:{key}"));
        let (model, now) = (FleetStore::default(), Boot::from_secs(10));
        let mut pair = Pair { connection: connection.clone(), keys, model, now, luck: seed };
        let mut done = Vec::new();
        for _ in 0..40 {
            // Printed only when something differs: the last line is the one that does.
            done.push(pair.act().await);
            println!("{seed}: {}", done[done.len() - 1]);
            pair.compare().await;
        }
    }
}
