// Command lab-proxy stands between a client and the API server, ends TLS on both sides, logs every
// request and, told so, breaks one of them: cuts it, holds it or answers in the server's place.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address of the TLS listener")
	control := flag.String("control", "127.0.0.1:0", "address of the plain listener for /fault, /release and /log")
	upstream := flag.String("upstream", "", "URL of the API server")
	upstreamCA := flag.String("upstream-ca", "", "file with the CA of the API server")
	certOut := flag.String("cert-out", "", "file to write the proxy's certificate to: the CA for its clients")
	flag.Parse()

	target, err := url.Parse(*upstream)
	check(err)
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(*upstreamCA)
	check(err)
	if !roots.AppendCertsFromPEM(ca) {
		log.Fatalf("no certificate in %s", *upstreamCA)
	}

	faults := newFaults(&http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}},
		MaxIdleConnsPerHost: 100,
	})
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     faults,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, _ error) {
			// An HTTP/2 request that is aborted ends alone: a cut ends all that share its connection.
			r.Context().Value(connection{}).(net.Conn).Close()
			panic(http.ErrAbortHandler)
		},
	}

	certificate := selfSigned()
	check(os.WriteFile(*certOut, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}), 0o644))
	secure, err := net.Listen("tcp", *listen)
	check(err)
	server := &http.Server{
		Handler:   proxy,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connection{}, conn)
		},
		ErrorLog: log.New(io.Discard, "", 0),
	}
	plain, err := net.Listen("tcp", *control)
	check(err)
	fmt.Printf("{\"listen\":%q,\"control\":%q}\n", secure.Addr(), plain.Addr())
	go func() { log.Fatal(http.Serve(plain, faults.control())) }()
	log.Fatal(server.ServeTLS(secure, "", ""))
}

// connection is the key of a request's connection in its context.
type connection struct{}

func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(365 * 24 * time.Hour),
		// Not a CA: rustls takes a CA certificate for no server's own.
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// wait returns early when the client has gone.
func wait(ctx context.Context, release <-chan struct{}) error {
	select {
	case <-release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
