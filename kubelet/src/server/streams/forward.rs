//! `/portForward`: connections of a client joined with connections inside the pod's network.
use super::{Api, Door, Names, Query, RequestError, Taken, Target, take_over};
use crate::dial::Inside;
use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use rkube_stream::Kind;
use rkube_stream::forward::{Connection, Forward};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

/// What is asked of a connection at a time.
const CHUNK: usize = 32 * 1024;

/// Forwards connections until the client goes.
pub(super) async fn start(
    State(api): State<Api>,
    Extension(door): Extension<Door>,
    Path(names): Path<Names>,
    request: Request,
) -> Result<Response, RequestError> {
    let target = Target::find(&api, names)?;
    let ports = Query::of(&request)?.ports()?;
    let record = &target.pod.record;
    let run = api.kubelet.node.paths.pod_run(record.uid());
    let inside = Inside::of(&run).map_err(|_| {
        RequestError::bad_request(format!("pod {} is not running", record.full_name()))
    })?;
    let (inside, pod) = (Arc::new(inside), record.full_name());
    take_over(&api, &door, Kind::Forward, request, move |taken| {
        serve(taken, inside, ports, pod)
    })
}

async fn serve(taken: Taken, inside: Arc<Inside>, ports: Vec<u16>, pod: String) {
    let Taken {
        io,
        transport,
        idle,
        place: _place,
    } = taken;
    let mut forward = match Forward::serve(io, transport, &ports, idle).await {
        Ok(forward) => forward,
        Err(err) => return tracing::debug!(%err, "a client of port-forward went before it began"),
    };
    // They end with the client, or with the server.
    let mut joined = JoinSet::new();
    loop {
        tokio::select! {
            connection = forward.next() => match connection {
                Some(connection) => {
                    let (inside, pod) = (inside.clone(), pod.clone());
                    joined.spawn(async move { join(connection, &inside, &pod).await });
                }
                None => return,
            },
            Some(_) = joined.join_next() => {}
        }
    }
}

async fn join(connection: Connection, inside: &Inside, pod: &str) {
    let Connection {
        port,
        mut input,
        mut output,
        mut error,
    } = connection;
    let there = match inside.connect(port).await {
        Ok(there) => there,
        Err(err) => {
            let why = format!("cannot connect to port {port} of pod {pod}: {err}");
            let _ = error.write(Bytes::from(why)).await;
            let _ = tokio::join!(error.finish(), output.finish());
            return;
        }
    };
    let (mut from, mut to) = there.into_split();
    let out = async {
        while let Ok(Some(bytes)) = input.read().await {
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    let back = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match from.read_buf(&mut buffer).await {
                Ok(count) if count > 0 => {
                    if output.write(buffer.split().freeze()).await.is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => break,
            }
        }
        let _ = output.finish().await;
        // kubectl before 1.30 keeps its own connection open until it has heard that there was no error.
        let _ = error.finish().await;
    };
    tokio::join!(out, back);
}
