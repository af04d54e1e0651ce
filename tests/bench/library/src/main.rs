//! What a request through a filter costs in the library `proxy-wasm-host`: `library REQUESTS FILTER…` prints a JSON array
//! of the median nanoseconds of batches, for five headers a request, as many as `switchover bench --header-count 4` and
//! one of its own have. Making the headers is not part of the figure, and deadlines and limits are on, as there.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use proxy_wasm_host::abi::v0_2_1::types::{Action, LogLevel, MapType, Status};
use proxy_wasm_host::abi::v0_2_1::{
    Access, ContextId, Guest, GuestError, Host, Invocation, LogContext, LogSink, PluginConfig,
    Started, StreamKind, StreamState, VmServices,
};
use proxy_wasm_host::{Engine, HeaderMap, HeaderMapExt, Limits, Module, VecHeaderMap};

/// So many requests are timed together.
const BATCH: u32 = 100;
const WARM_UP: u32 = 20_000;

struct Silent;

/// One request, and the response to it.
#[derive(Clone)]
struct Stream {
    request: VecHeaderMap,
    response: VecHeaderMap,
}

impl LogSink for Silent {
    fn log(&self, _: LogContext<'_>, _: LogLevel, _: &[u8]) {}
}

impl StreamState for Stream {
    fn header_map(
        &mut self,
        _: Invocation,
        _: Access,
        map: MapType,
    ) -> Result<&mut dyn HeaderMap, Status> {
        match map {
            MapType::HttpRequestHeaders => Ok(&mut self.request),
            MapType::HttpResponseHeaders => Ok(&mut self.response),
            _ => Err(Status::NotFound),
        }
    }
}

fn headers(pairs: &[(&str, &str)]) -> VecHeaderMap {
    let mut map = VecHeaderMap::default();
    for (name, value) in pairs {
        map.add(name.as_bytes(), value.as_bytes())
            .expect("a map takes what it is given");
    }
    map
}

/// One request, all of its callbacks; gives what came of its headers.
fn request(guest: &mut Guest, root: ContextId, stream: Stream) -> Result<Stream, GuestError> {
    let (done, stream) = guest.with(stream, |scope| {
        let context = scope.on_context_create(Some(root))?;
        scope.expect_stream_kind(context, StreamKind::Http)?;
        let count = 5;
        assert_eq!(
            scope.on_request_headers(context, count, true)?,
            Action::Continue
        );
        assert_eq!(
            scope.on_response_headers(context, count, true)?,
            Action::Continue
        );
        scope.on_done(context)?;
        scope.on_log(context)?;
        scope.on_delete(context)?;
        Ok(())
    });
    done.map(|()| stream)
}

/// The median nanoseconds of a request.
fn measure(path: &str, requests: u32) -> Result<f64, Box<dyn Error>> {
    let engine = Engine::new()?;
    let module = Module::new(&engine, &std::fs::read(path)?)?;
    let host = Host::new(&engine)?;
    let mut guest = Guest::new(
        &host,
        &module,
        VmServices::new(Arc::new(Silent)),
        &Limits::default(),
    )?;
    let Started::Serving(root) = guest.start(PluginConfig::new())? else {
        return Err("the filter refused its start".into());
    };
    let stream = Stream {
        request: headers(&[
            (":authority", "api.example.com"),
            (":path", "/v1/models"),
            (":method", "GET"),
            ("x-header-0", "value"),
            ("api-key", "team-0-key-0123456789abcdef"),
        ]),
        response: headers(&[
            (":status", "200"),
            ("content-type", "application/json"),
            ("date", "Thu, 26 Nov 2026 00:00:00 GMT"),
            ("server", "upstream"),
            ("cache-control", "no-store"),
        ]),
    };
    for _ in 0..WARM_UP {
        request(&mut guest, root, stream.clone())?;
    }
    let after = request(&mut guest, root, stream.clone())?;
    assert_eq!(
        after.request.get_all(b"api-key").len(),
        usize::from(!path.contains("rename")),
        "{path} did its work"
    );
    let mut batches = Vec::new();
    for _ in 0..requests / BATCH {
        let streams: Vec<_> = (0..BATCH).map(|_| stream.clone()).collect();
        let mut ended = Vec::with_capacity(streams.len());
        let start = Instant::now();
        for stream in streams {
            ended.push(request(&mut guest, root, stream)?);
        }
        batches.push(start.elapsed().as_nanos() as f64 / f64::from(BATCH));
    }
    batches.sort_by(f64::total_cmp);
    Ok(batches[batches.len() / 2])
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let requests = arguments
        .next()
        .ok_or("library REQUESTS FILTER…")?
        .parse()?;
    let results: Result<Vec<_>, _> = arguments.map(|path| measure(&path, requests)).collect();
    println!("{:?}", results?);
    Ok(())
}
