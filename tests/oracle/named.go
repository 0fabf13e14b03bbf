package main

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/url"
	"time"
)

// mesh is a CA as Dapr makes it: root, issuer, and the leaf of one workload.
type mesh struct {
	root, issuer       *x509.Certificate
	rootKey, issuerKey crypto.Signer
}

type change func(*x509.Certificate)

func none(*x509.Certificate) {}

func pathLen(n int) change {
	return func(t *x509.Certificate) { t.MaxPathLen, t.MaxPathLenZero = n, n == 0 }
}

var serials int64

func certify(name string, public crypto.Signer, parent *x509.Certificate, key crypto.Signer, changed change) *x509.Certificate {
	serials++
	t := &x509.Certificate{
		SerialNumber: big.NewInt(serials), Subject: pkix.Name{Organization: []string{name}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLen: -1,
	}
	changed(t)
	if parent == nil {
		parent, key = t, public
	}
	// A parent of its own, for CreateCertificate refuses some of what is wanted here.
	by := &x509.Certificate{RawSubject: parent.RawSubject, Subject: parent.Subject, SubjectKeyId: parent.SubjectKeyId}
	der, err := x509.CreateCertificate(rand.Reader, t, by, public.Public(), key)
	must(err)
	certificate, err := x509.ParseCertificate(der)
	must(err)
	return certificate
}

func newMesh(name string, root, issuer change) mesh {
	m := mesh{rootKey: makeKey(elliptic.P256()), issuerKey: makeKey(elliptic.P256())}
	m.root = certify(name+" root", m.rootKey, nil, nil, root)
	m.issuer = certify(name+" issuer", m.issuerKey, m.root, m.rootKey, issuer)
	return m
}

func (m mesh) leaf(changed change) []byte {
	return certify("", makeKey(elliptic.P256()), m.issuer, m.issuerKey, func(t *x509.Certificate) {
		t.Subject = pkix.Name{}
		t.KeyUsage, t.BasicConstraintsValid, t.IsCA, t.MaxPathLen = x509.KeyUsageDigitalSignature, false, false, 0
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.URIs = []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/app"}}
		changed(t)
	}).Raw
}

// bridge certifies the root of m by another CA.
func (m mesh) bridge(by *x509.Certificate, key crypto.Signer) *x509.Certificate {
	return certify(m.root.Subject.Organization[0], m.rootKey, by, key, func(t *x509.Certificate) { t.SubjectKeyId = m.root.SubjectKeyId })
}

func ders(certificates ...*x509.Certificate) [][]byte {
	out := [][]byte{}
	for _, certificate := range certificates {
		out = append(out, certificate.Raw)
	}
	return out
}

// named returns the cases that Dapr's own behaviour is known for.
func named() (cases []Case) {
	add := func(name, profile string, leaf []byte, chain, anchors [][]byte) {
		cases = append(cases, Case{Name: name, Profile: profile, Leaf: leaf, Chain: chain, Anchors: anchors, At: now})
	}
	simple := func(name string, root, issuer change, profiles ...string) {
		m := newMesh("old", root, issuer)
		for _, profile := range profiles {
			add(name+", "+profile, profile, m.leaf(func(t *x509.Certificate) { t.DNSNames = []string{"dapr-webhook.dapr-system.svc"} }), ders(m.issuer), ders(m.root))
		}
	}
	all := []string{"spiffe", "webhook", "etcd"}
	simple("as Dapr makes it", none, none, all...)
	simple("root with path length 0", pathLen(0), none, "spiffe")
	simple("root with path length 1", pathLen(1), pathLen(0), "spiffe")
	simple("issuer that is no CA", none, func(t *x509.Certificate) { t.IsCA = false }, "spiffe")
	simple("issuer without basic constraints", none, func(t *x509.Certificate) { t.BasicConstraintsValid, t.IsCA, t.MaxPathLen = false, false, 0 }, "spiffe")
	simple("issuer without keyCertSign", none, func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageDigitalSignature }, "spiffe")
	simple("issuer without any key usage", none, func(t *x509.Certificate) { t.KeyUsage = 0 }, "spiffe")
	simple("root without keyCertSign", func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageDigitalSignature }, none, "spiffe")
	simple("URI constraint for another domain", func(t *x509.Certificate) { t.PermittedURIDomains = []string{"other.local"} }, none, "spiffe")
	simple("URI constraint for this domain", func(t *x509.Certificate) { t.PermittedURIDomains = []string{"cluster.local"} }, none, all...)
	simple("DNS constraint for another domain", func(t *x509.Certificate) { t.PermittedDNSDomains = []string{"example.com"} }, none, "webhook")
	for _, constrained := range []struct {
		name, dns string
		by        change
	}{
		{"excluded host, its wildcard", "*.example.com", func(t *x509.Certificate) { t.ExcludedDNSDomains = []string{"a.example.com"} }},
		{"excluded host, another wildcard", "*.example.org", func(t *x509.Certificate) { t.ExcludedDNSDomains = []string{"a.example.com"} }},
		{"permitted host, its wildcard", "*.example.com", func(t *x509.Certificate) { t.PermittedDNSDomains = []string{"a.example.com"} }},
		{"leading period, the domain itself", "example.com", func(t *x509.Certificate) { t.PermittedDNSDomains = []string{".example.com"} }},
		{"leading period, a host below", "A.Example.com", func(t *x509.Certificate) { t.PermittedDNSDomains = []string{".example.com"} }},
		{"no label boundary", "anexample.com", func(t *x509.Certificate) { t.PermittedDNSDomains = []string{"example.com"} }},
	} {
		m := newMesh("old", constrained.by, none)
		leaf := m.leaf(func(t *x509.Certificate) { t.DNSNames = []string{constrained.dns} })
		add("name constraint: "+constrained.name, "webhook", leaf, ders(m.issuer), ders(m.root))
	}
	simple("EKU serverAuth alone", none, func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, all...)
	simple("EKU clientAuth alone", none, func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, all...)
	simple("root with EKU serverAuth alone", func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, none, all...)
	simple("expired issuer", none, func(t *x509.Certificate) { t.NotAfter = now.Add(-time.Second) }, "spiffe")
	simple("issuer at its last moment", none, func(t *x509.Certificate) { t.NotAfter = now }, "spiffe")
	simple("expired root", func(t *x509.Certificate) { t.NotAfter = now.Add(-time.Second) }, none, "spiffe")
	simple("root of the future", func(t *x509.Certificate) { t.NotBefore = now.Add(time.Second) }, none, "spiffe")
	simple("unknown critical extension", none, func(t *x509.Certificate) {
		t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	}, "spiffe")
	simple("policies without a constraint", none, func(t *x509.Certificate) { t.Policies = []x509.OID{oid(1, 2, 3)} }, "spiffe")

	for _, roots := range []int{-1, 0, 1, 2, 3} {
		for _, issuers := range []int{-1, 0, 1, 2} {
			old, fresh := newMesh("old", pathLen(roots), pathLen(issuers)), newMesh("new", none, none)
			chain := ders(fresh.issuer, fresh.bridge(old.issuer, old.issuerKey), old.issuer)
			name := fmt.Sprintf("bridge by the issuer, root %d, issuer %d", roots, issuers)
			add(name+", old root", "spiffe", fresh.leaf(none), chain, ders(old.root))
			add(name+", both roots", "spiffe", fresh.leaf(none), chain, ders(fresh.root, old.root))
		}
		old, fresh := newMesh("old", pathLen(roots), pathLen(0)), newMesh("new", none, none)
		chain := ders(fresh.issuer, fresh.bridge(old.root, old.rootKey))
		add(fmt.Sprintf("bridge by the root's key, root %d", roots), "spiffe", fresh.leaf(none), chain, ders(old.root))
	}

	old := newMesh("old", none, none)
	meshes := []mesh{old}
	chain := []*x509.Certificate{old.issuer}
	for range 52 {
		last := meshes[len(meshes)-1]
		fresh := newMesh(fmt.Sprintf("number %d", len(meshes)), none, none)
		chain = append([]*x509.Certificate{fresh.issuer, fresh.bridge(last.issuer, last.issuerKey)}, chain...)
		meshes = append(meshes, fresh)
		if n := len(meshes) - 1; n == 3 || n == 49 || n == 50 {
			add(fmt.Sprintf("%d bridges in a row, first root", n), "spiffe", fresh.leaf(none), ders(chain...), ders(old.root))
		}
		if n := len(meshes) - 1; n == 3 {
			add("3 bridges in a row without the tail", "spiffe", fresh.leaf(none), ders(chain[:3]...), ders(old.root))
		}
	}

	fresh := newMesh("new", none, none)
	ending := certify(fresh.root.Subject.Organization[0], fresh.rootKey, old.issuer, old.issuerKey, func(t *x509.Certificate) { t.NotAfter = now.Add(-time.Second) })
	add("expired bridge, new root", "spiffe", fresh.leaf(none), ders(fresh.issuer, ending, old.issuer), ders(fresh.root))
	add("expired bridge, old root", "spiffe", fresh.leaf(none), ders(fresh.issuer, ending, old.issuer), ders(old.root))
	add("old leaf, new root alone", "spiffe", old.leaf(none), ders(old.issuer), ders(fresh.root))

	renewed := certify("old root", old.rootKey, nil, nil, func(t *x509.Certificate) { t.SubjectKeyId = old.root.SubjectKeyId })
	add("same key, same Subject", "spiffe", old.leaf(none), ders(old.issuer), ders(renewed))
	renamed := certify("renamed root", old.rootKey, nil, nil, none)
	add("same key, another Subject", "spiffe", old.leaf(none), ders(old.issuer), ders(renamed))
	otherID := certify("old root", old.rootKey, nil, nil, func(t *x509.Certificate) { t.SubjectKeyId = []byte("another") })
	add("same key, same Subject, another key identifier", "spiffe", old.leaf(none), ders(old.issuer), ders(otherID))

	same := mesh{rootKey: makeKey(elliptic.P256()), issuerKey: makeKey(elliptic.P256())}
	same.root = certify("same name", same.rootKey, nil, nil, none)
	same.issuer = certify("same name", same.issuerKey, same.root, same.rootKey, none)
	add("root and issuer of one Subject", "spiffe", same.leaf(none), ders(same.issuer), ders(same.root))
	add("a root that issues itself", "spiffe", mesh{issuer: same.root, issuerKey: same.rootKey}.leaf(none), [][]byte{}, ders(same.root))

	signedBy := func(name string, key crypto.Signer, algorithms ...x509.SignatureAlgorithm) {
		m := mesh{rootKey: key, issuerKey: makeKey(elliptic.P384())}
		for _, algorithm := range algorithms {
			m.root = certify(name+" root", m.rootKey, nil, nil, func(t *x509.Certificate) { t.SignatureAlgorithm = algorithm })
			m.issuer = certify(name+" issuer", m.issuerKey, m.root, m.rootKey, func(t *x509.Certificate) { t.SignatureAlgorithm = algorithm })
			add(fmt.Sprintf("%s, %s", name, algorithm), "spiffe", m.leaf(none), ders(m.issuer), ders(m.root))
		}
	}
	makeRSA := func(bits int) crypto.Signer {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		must(err)
		return key
	}
	for _, bits := range []int{2048, 3072} {
		signedBy(fmt.Sprintf("RSA %d", bits), makeRSA(bits), x509.SHA256WithRSA, x509.SHA384WithRSAPSS, x509.SHA512WithRSA)
	}
	short := makeRSA(1024)
	signedBy("RSA 1024", short, x509.SHA256WithRSA, x509.SHA512WithRSA)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		signedBy(curve.Params().Name, makeKey(curve), x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512)
	}
	cases = append(cases, odd()...)
	// Verdicts that differ, each for a reason: see the list in tests/interop.rs.
	p224 := mesh{rootKey: makeKey(elliptic.P224()), issuerKey: makeKey(elliptic.P256())}
	p224.root = certify("P-224 root", p224.rootKey, nil, nil, none)
	p224.issuer = certify("P-224 issuer", p224.issuerKey, p224.root, p224.rootKey, none)
	add("differs: P-224", "spiffe", p224.leaf(none), ders(p224.issuer), ders(p224.root))
	signedBy("differs: RSA 1024", short, x509.SHA384WithRSA)
	signedBy("differs: RSA-PSS 1024", short, x509.SHA256WithRSAPSS)
	explicit := newMesh("explicit", none, func(t *x509.Certificate) {
		t.Policies = []x509.OID{oid(1, 2, 3)}
		t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 36}, Critical: true, Value: []byte{0x30, 3, 0x80, 1, 0}}}
	})
	add("differs: explicit policy", "spiffe", explicit.leaf(func(t *x509.Certificate) { t.Policies = []x509.OID{oid(1, 2, 3)} }), ders(explicit.issuer), ders(explicit.root))
	return cases
}

func oid(ints ...uint64) x509.OID {
	made, err := x509.OIDFromInts(ints)
	must(err)
	return made
}
