// Command watcher is a consumer of trust that reads anchors from a file, which dapr/kit watches: a TLS listener
// that asks for a client certificate, as Dapr's services and file-era sidecars have. With a peer it is a client
// too. Which kit it is built against decides whether the watch lives: see dying.go and living.go.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

// anchors is what both kits have.
type anchors interface {
	x509bundle.Source
	CurrentTrustAnchors(context.Context) ([]byte, error)
	Run(context.Context) error
}

func main() {
	ca := flag.String("ca", "/var/run/secrets/dapr.io/tls/ca.crt", "trust bundle file")
	listen := flag.String("listen", ":6500", "address of the TLS listener")
	status := flag.String("status", ":8080", "address of the plain listener: /healthz, /anchors, /stats, /reset")
	svid := flag.String("svid", "", "certificate chain and key in one file, read for every connection (while it is not there: self-signed)")
	peer := flag.String("peer", "", "address of a TLS listener to call")
	rate := flag.Int("rate", 5, "calls of the peer a second")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	trust := watched(*ca)
	identity, err := newIdentity(*svid)
	if err != nil {
		stdlog.Fatal(err)
	}
	calls := &calls{}

	plain := http.NewServeMux()
	plain.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	plain.HandleFunc("GET /anchors", func(w http.ResponseWriter, r *http.Request) {
		pem, err := trust.CurrentTrustAnchors(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write(pem)
	})
	plain.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(calls.read()) })
	plain.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(calls.reset()) })
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "trusted\n") }),
		TLSConfig: &tls.Config{
			MinVersion:            tls.VersionTLS12,
			GetCertificate:        func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return identity.current() },
			ClientAuth:            tls.RequireAnyClientCert,
			VerifyPeerCertificate: tlsconfig.VerifyPeerCertificate(trust, tlsconfig.AuthorizeAny()),
		},
	}

	failed := make(chan error, 3)
	go func() { failed <- trust.Run(ctx) }()
	tlsAddress, err := serve(*listen, failed, func(l net.Listener) error { return server.ServeTLS(l, "", "") })
	if err != nil {
		stdlog.Fatal(err)
	}
	statusAddress, err := serve(*status, failed, func(l net.Listener) error { return http.Serve(l, plain) })
	if err != nil {
		stdlog.Fatal(err)
	}
	if *peer != "" {
		go calls.make(*peer, *rate, identity, trust)
	}
	fmt.Printf("{\"listen\":%q,\"status\":%q}\n", tlsAddress, statusAddress)

	select {
	case <-ctx.Done():
	case err := <-failed:
		stdlog.Fatal(err)
	}
}

func serve(address string, failed chan<- error, run func(net.Listener) error) (string, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	go func() { failed <- run(listener) }()
	return listener.Addr().String(), nil
}
