package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// identity is what this process shows of itself: what is in a file now, or else a certificate that nobody trusts.
type identity struct {
	file     string
	fallback *tls.Certificate
}

func newIdentity(file string) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"watcher"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(365 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &identity{file, &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}

// given says whether there is a file.
func (i *identity) given() bool {
	_, err := os.Stat(i.file)
	return err == nil
}

// current reads chain and key out of one file at once, so that they always belong together.
func (i *identity) current() (*tls.Certificate, error) {
	pem, err := os.ReadFile(i.file)
	if errors.Is(err, fs.ErrNotExist) {
		return i.fallback, nil
	}
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(pem, pem)
	return &pair, err
}
