//! A stretch of network that can be cut: bytes go through it, or nothing does.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes connections on to one address until it is cut.
pub(crate) struct Relay {
    port: u16,
    is_cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    /// A relay to this port of this machine. Its thread ends with the test's process.
    pub(crate) fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (is_cut, open) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let relay = Self { port, is_cut: Arc::clone(&is_cut), open: Arc::clone(&open) };
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                // Cut, it takes the connection and lets nothing through, as a lost packet would.
                let there = SocketAddr::from(([127, 0, 0, 1], to));
                let onward = if is_cut.load(Ordering::SeqCst) { None } else { TcpStream::connect(there).ok() };
                open.lock().unwrap().push(from.try_clone().unwrap());
                if let Some(onward) = onward {
                    open.lock().unwrap().push(onward.try_clone().unwrap());
                    pass(from.try_clone().unwrap(), onward.try_clone().unwrap(), &is_cut);
                    pass(onward, from, &is_cut);
                }
            }
        });
        relay
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on nothing goes through, and nobody is told.
    pub(crate) fn cut(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
    }

    /// Lets new connections through; those from before are ended.
    pub(crate) fn heal(&self) {
        self.is_cut.store(false, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &Arc<AtomicBool>) {
    let is_cut = Arc::clone(is_cut);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if !is_cut.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
