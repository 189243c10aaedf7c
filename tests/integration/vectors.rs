//! Vector sets of Redis 8 as JSON, held against what the server that wrote them answers.

use redis::{FromRedisValue as _, Value};
use serde_json::Value as Json;

use super::support::command::run;
use super::support::random::Random;
use super::support::server::Server;

/// Sets of every quantization, with attributes, with a projection, and with vectors that look like digits.
const SETS: [(&str, &[&str], usize); 5] = [
    ("floats", &["NOQUANT"], 8),
    ("integers", &["Q8"], 8),
    ("bits", &["BIN"], 70),
    ("reduced", &["NOQUANT"], 9),
    ("digits", &["Q8"], 2),
];

fn fill(server: &Server) {
    let mut connection = server.connect();
    let mut random = Random::new(7, "vectors", 0);
    for (key, options, dim) in SETS {
        for n in 0..20 {
            let vector: Vec<u8> = (0..dim)
                .flat_map(|place| {
                    let number = match key {
                        // 51 of 127 is the digit 3.
                        "digits" => [1.0, 51.0 / 127.0][place % 2],
                        _ => random.below(2000) as f32 / 1000.0 - 1.0,
                    };
                    number.to_le_bytes()
                })
                .collect();
            let mut command = redis::cmd("VADD");
            command.arg(key);
            if key == "reduced" {
                command.arg("REDUCE").arg(4);
            }
            command.arg("FP32").arg(vector).arg(format!("element {n}"));
            command.arg(options);
            if n % 3 == 1 {
                command.arg("SETATTR").arg(format!("{{\"n\": {n}}}"));
            }
            command.exec(&mut connection).expect("added");
        }
    }
}

fn numbers(of: &Json) -> Vec<f64> {
    let list = of.as_array().expect("a list");
    list.iter().map(|n| n.as_f64().expect("a number")).collect()
}

/// The bytes that the server keeps for it.
fn stored(quantization: &str, numbers: &[f64]) -> Vec<u8> {
    match quantization {
        "f32" => numbers
            .iter()
            .flat_map(|n| (*n as f32).to_le_bytes())
            .collect(),
        "int8" => numbers.iter().map(|n| (*n as i8).cast_unsigned()).collect(),
        _ => {
            let mut bytes = vec![0; numbers.len().div_ceil(64) * 8];
            for (at, number) in numbers.iter().enumerate() {
                bytes[at / 8] |= u8::from(*number > 0.0) << (at % 8);
            }
            bytes
        }
    }
}

fn text(value: &Value) -> String {
    String::from_redis_value(value.clone()).expect("a text")
}

#[test]
fn vector_sets_are_shown_as_their_server_answers() {
    for name in ["redis-8.0", "redis-8.10"] {
        let server = Server::start(name);
        fill(&server);
        server.run("SAVE");
        let file = server.dir().join("dump.rdb");
        let ran = run([
            "export",
            "-q",
            "--format",
            "ndjson",
            file.to_str().expect("UTF-8"),
        ]);
        let lines: Vec<Json> = ran
            .ends_with(0)
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), SETS.len());
        let mut connection = server.connect();
        let mut ask = |words: &[&str]| -> Value {
            let mut command = redis::cmd(words[0]);
            command.arg(&words[1..]);
            command.query(&mut connection).expect("an answer")
        };
        for line in lines {
            let (key, value) = (line["key"].as_str().expect("a name"), &line["value"]);
            let info = Vec::<Value>::from_redis_value(ask(&["VINFO", key])).expect("pairs");
            let told = |field: &str| {
                let pair = info.chunks(2).find(|pair| text(&pair[0]) == field);
                text(&pair.expect("told")[1])
            };
            let quantization = value["quantization"].as_str().expect("a name");
            assert_eq!(quantization, told("quant-type"), "{key}");
            let dim = value["dim"].as_u64().expect("a number");
            assert_eq!(dim.to_string(), told("vector-dim"), "{key}");
            let elements = value["elements"].as_array().expect("a list");
            assert_eq!(elements.len(), 20, "{key}");
            if key == "reduced" {
                assert_eq!((dim, &value["projection"]["dim"]), (4, &9.into()));
                assert!(value["projection"]["matrix"]["base64"].is_string());
            }
            for element in elements {
                let of = element["name"].as_str().expect("a text");
                let attributes = match ask(&["VGETATTR", key, of]) {
                    Value::Nil => None,
                    some => Some(text(&some)),
                };
                assert_eq!(element["attributes"].as_str(), attributes.as_deref());
                let vector = numbers(&element["vector"]);
                assert_eq!(vector.len() as u64, dim);
                let norm = element["norm"].as_f64().expect("a number");
                let raw =
                    Vec::<Value>::from_redis_value(ask(&["VEMB", key, of, "RAW"])).expect("parts");
                assert_eq!(
                    raw[1],
                    Value::BulkString(stored(quantization, &vector)),
                    "{key} {of}"
                );
                assert_eq!(text(&raw[2]).parse(), Ok(norm));
                let range = element["range"].as_f64();
                assert_eq!(
                    raw.get(3).map(|range| text(range).parse()),
                    range.map(Ok),
                    "{key}"
                );
                let answered =
                    Vec::<f64>::from_redis_value(ask(&["VEMB", key, of])).expect("numbers");
                let scale = match quantization {
                    "bin" => 1.0,
                    _ => range.map_or(norm, |range| norm * range / 127.0),
                };
                for (ours, theirs) in vector.iter().zip(answered) {
                    assert!(
                        (ours * scale - theirs).abs() < 1e-5,
                        "{key} {of}: {ours} × {scale}, {theirs}"
                    );
                }
            }
        }
    }
}
