// Command watcher is a consumer of trust as Dapr 1.16 and later have them: a TLS listener that asks for
// a client certificate and verifies it against a trust bundle file, which dapr/kit watches. On a mounted
// ConfigMap that watch sees one change and never another.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	stdlog "log"
	"math/big"
	"net"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/dapr/kit/crypto/spiffe/trustanchors/file"
	"github.com/dapr/kit/logger"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

func main() {
	ca := flag.String("ca", "/var/run/secrets/dapr.io/tls/ca.crt", "trust bundle file")
	listen := flag.String("listen", ":6500", "address of the TLS listener")
	status := flag.String("status", ":8080", "address of the plain listener: /healthz, /anchors")
	certFile := flag.String("cert", "", "certificate chain to serve (without it: self-signed)")
	keyFile := flag.String("key", "", "key of the served certificate")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	anchors := file.From(file.Options{Log: logger.NewLogger("watcher"), CAPath: *ca})
	certificate, err := serving(*certFile, *keyFile)
	if err != nil {
		stdlog.Fatal(err)
	}

	plain := http.NewServeMux()
	plain.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	plain.HandleFunc("GET /anchors", func(w http.ResponseWriter, r *http.Request) {
		pem, err := anchors.CurrentTrustAnchors(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.Write(pem)
	})
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "trusted\n") }),
		TLSConfig: &tls.Config{
			MinVersion:            tls.VersionTLS12,
			Certificates:          []tls.Certificate{certificate},
			ClientAuth:            tls.RequireAnyClientCert,
			VerifyPeerCertificate: tlsconfig.VerifyPeerCertificate(anchors, tlsconfig.AuthorizeAny()),
		},
	}

	failed := make(chan error, 3)
	go func() { failed <- anchors.Run(ctx) }()
	tlsAddress, err := serve(*listen, failed, func(l net.Listener) error { return server.ServeTLS(l, "", "") })
	if err != nil {
		stdlog.Fatal(err)
	}
	statusAddress, err := serve(*status, failed, func(l net.Listener) error { return http.Serve(l, plain) })
	if err != nil {
		stdlog.Fatal(err)
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

func serving(certFile, keyFile string) (tls.Certificate, error) {
	if certFile != "" {
		return tls.LoadX509KeyPair(certFile, keyFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"watcher"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
