//! The server on a port of this machine, for tests that run the whole program.

use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::ApiServer;

impl ApiServer {
    /// Listens for as long as the runtime lives. Returns a kubeconfig that leads here.
    pub async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { serve(server, stream).await });
            }
        });
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\ncontexts:\n- name: test\n  context: {{cluster: c, user: u}}\n\
             clusters:\n- name: c\n  cluster: {{server: 'http://{address}'}}\nusers:\n- name: u\n  user: {{}}\n"
        )
    }
}

/// One connection, until either side hangs up.
async fn serve(server: ApiServer, stream: TcpStream) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        // Why: bodies are written as a whole, and this one has no end.
        let line = line.replace("watch=1", "watch=refused");
        let mut words = line.split_whitespace();
        let mut request = Request::builder().method(words.next()?).uri(words.next()?);
        let mut length = 0;
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().ok()?;
            }
            request = request.header(name, value);
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let response = server.answer(request.body(Body::from(body)).ok()?).await.ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let mut answer = format!("HTTP/1.1 {}\r\ncontent-length: {}\r\n", parts.status, body.len());
        for (name, value) in &parts.headers {
            answer.extend([name.as_str(), ": ", value.to_str().ok()?, "\r\n"]);
        }
        answer.push_str("\r\n");
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.write_all(&body).await.ok()?;
    }
}
