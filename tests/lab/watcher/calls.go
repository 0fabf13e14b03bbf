package main

import (
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
)

const timeout = 5 * time.Second

// stats is what /stats shows: totals since the last reset.
type stats struct {
	Answers   int    `json:"answers"`
	Failures  int    `json:"failures"`
	LastError string `json:"last_error"`
}

type calls struct {
	mutex sync.Mutex
	stats stats
}

// make calls the peer so many times a second, each time over a new connection with a full handshake. Without an
// identity it calls nobody.
func (c *calls) make(peer string, rate int, identity *identity, trust anchors) {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return identity.current()
		},
		// The peer's name is in its SVID, not in DNS: the chain is verified below.
		InsecureSkipVerify:    true,
		VerifyPeerCertificate: tlsconfig.VerifyPeerCertificate(trust, tlsconfig.AuthorizeAny()),
	}
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}}
	for range time.Tick(time.Second / time.Duration(rate)) {
		if identity.given() {
			go func() { c.add(once(client, "https://"+peer+"/")) }()
		}
	}
}

func once(client *http.Client, url string) error {
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

func (c *calls) add(err error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if err == nil {
		c.stats.Answers++
		return
	}
	c.stats.Failures++
	c.stats.LastError = err.Error()
}

func (c *calls) read() stats {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.stats
}

func (c *calls) reset() stats {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.stats = stats{}
	return c.stats
}
