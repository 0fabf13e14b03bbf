package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"iter"
	"math/big"
	prng "math/rand/v2"
	"net"
	"net/url"
	"time"
)

// now is the moment around which all generated certificates are made.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// authority is one CA: its certificate may exist in several versions, for it may be cross-signed.
type authority struct {
	name pkix.Name
	key  crypto.Signer
	skid []byte
	// versions hold the certificates made for it; those without a parent are self-signed.
	versions [][]byte
}

type generator struct {
	*prng.Rand
	keys   []crypto.Signer
	serial int64
	// dense cases have so many certificates of one name that Go gives up at its limit of signatures, before or after it found a path.
	dense bool
	// slow cases have signatures that take long to check on the other side: P-521, SHA-512.
	slow bool
}

// generate makes cases whose shapes follow from the seed. Keys and signatures are new each time.
func generate(seed uint64, count int) iter.Seq[Case] {
	return func(yield func(Case) bool) {
		g := &generator{Rand: prng.New(prng.NewPCG(seed, 0)), keys: makeKeys(13)}
		for range count {
			if !yield(g.next()) {
				return
			}
		}
	}
}

func makeKeys(count int) []crypto.Signer {
	keys := make([]crypto.Signer, count)
	for i := range keys {
		switch {
		case i == 10:
			_, key, err := ed25519.GenerateKey(rand.Reader)
			must(err)
			keys[i] = key
		case i == 11:
			keys[i] = makeKey(elliptic.P384())
		case i == 12:
			keys[i] = makeKey(elliptic.P521())
		default:
			keys[i] = makeKey(elliptic.P256())
		}
	}
	return keys
}

func makeKey(curve elliptic.Curve) crypto.Signer {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	must(err)
	return key
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// chance is true once in n.
func (g *generator) chance(n int) bool { return g.IntN(n) == 0 }

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

func (g *generator) next() Case {
	// A calm case has at most one odd thing, so that many are accepted and each rule decides some of them alone.
	calm := 3 + g.IntN(60)
	g.dense, g.slow = g.chance(50), g.chance(100)
	cas := []*authority{g.authority(0)}
	cas[0].versions = append(cas[0].versions, g.ca(cas[0], cas[0], calm))
	depth := 1 + g.IntN(5)
	if g.dense {
		depth = 6
	}
	for ; depth > 0; depth-- {
		ca := g.authority(len(cas))
		parent := cas[len(cas)-1]
		if g.chance(6) {
			parent = pick(g, cas)
		}
		ca.versions = append(ca.versions, g.ca(ca, parent, calm))
		cas = append(cas, ca)
	}
	crosses := g.IntN(4)
	if g.dense {
		crosses = 20 + g.IntN(40)
	}
	for range crosses {
		// Cross certificates, roots of one's own, renewals, loops.
		ca, parent := pick(g, cas), pick(g, cas)
		ca.versions = append(ca.versions, g.ca(ca, parent, calm))
	}

	c := Case{Profile: pick(g, []string{"spiffe", "webhook", "etcd"}), At: now}
	if g.chance(8) {
		c.At = now.Add(time.Duration(g.IntN(800)-400) * 24 * time.Hour)
	}
	if g.chance(10) {
		c.At = c.At.Add(500 * time.Millisecond)
	}
	for i, ca := range cas {
		for _, version := range ca.versions {
			certificate, err := x509.ParseCertificate(version)
			must(err)
			anchor := certificate.CheckSignatureFrom(certificate) == nil || i == 0 || g.chance(25)
			if anchor && !g.chance(12) && !(g.dense && g.chance(2)) {
				c.Anchors = append(c.Anchors, version)
			}
			if (!anchor || g.dense || g.chance(8)) && !g.chance(14) {
				c.Chain = append(c.Chain, version)
			}
		}
	}
	if g.chance(3) {
		g.Shuffle(len(c.Chain), func(i, j int) { c.Chain[i], c.Chain[j] = c.Chain[j], c.Chain[i] })
	}
	if g.chance(10) && len(c.Chain) > 0 {
		c.Chain = append(c.Chain, pick(g, c.Chain))
	}
	c.Leaf = g.leaf(cas[len(cas)-1], calm)
	if g.chance(60) {
		c.Leaf = pick(g, cas).versions[0]
	}
	return c
}

// key picks one; those after the twelfth are for slow cases alone.
func (g *generator) key() crypto.Signer {
	if g.slow {
		return pick(g, g.keys)
	}
	return pick(g, g.keys[:12])
}

func (g *generator) authority(index int) *authority {
	name := pkix.Name{Organization: []string{"ca"}, CommonName: string(rune('a' + index))}
	if g.chance(12) || g.dense && !g.chance(4) {
		name.CommonName = "a"
	}
	if g.chance(30) {
		name.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "again"}}
	}
	ca := &authority{name: name, key: g.key(), skid: []byte{byte(index + 1), byte(g.IntN(2))}}
	if g.chance(15) {
		ca.skid = nil
	}
	return ca
}

// ca makes a certificate for one authority, signed by another; calm is how rarely something about it is odd.
func (g *generator) ca(subject, parent *authority, calm int) []byte {
	t := g.template(calm)
	t.Subject, t.SubjectKeyId = subject.name, subject.skid
	t.KeyUsage = x509.KeyUsageCertSign
	t.BasicConstraintsValid, t.IsCA, t.MaxPathLen = true, true, -1
	if g.chance(calm) || g.chance(12) {
		t.MaxPathLen = g.IntN(5)
		t.MaxPathLenZero = t.MaxPathLen == 0
	}
	if g.chance(4 * calm) {
		t.KeyUsage = pick(g, []x509.KeyUsage{0, x509.KeyUsageDigitalSignature, x509.KeyUsageCRLSign | x509.KeyUsageCertSign})
	}
	if g.chance(5 * calm) {
		t.IsCA, t.MaxPathLen = false, -1
	}
	if g.chance(6 * calm) {
		t.BasicConstraintsValid, t.IsCA, t.MaxPathLen = false, false, 0
	}
	if g.chance(2 * calm) {
		g.usages(t)
	}
	if g.chance(2*calm) || g.chance(20) {
		g.constraints(t)
	}
	if g.chance(3 * calm) {
		t.URIs = []*url.URL{{Scheme: "spiffe", Host: pick(g, domains), Path: "/ns/x/ca"}}
	}
	if g.chance(6 * calm) {
		t.DNSNames = []string{pick(g, hosts)}
	}
	return g.sign(t, parent, subject.key, calm)
}

func (g *generator) leaf(parent *authority, calm int) []byte {
	t := g.template(calm)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	t.URIs = []*url.URL{{Scheme: "spiffe", Host: pick(g, domains), Path: "/ns/default/app"}}
	if g.chance(3) {
		t.DNSNames = append(t.DNSNames, pick(g, hosts))
	}
	if g.chance(10) {
		t.EmailAddresses = []string{pick(g, mails)}
	}
	if g.chance(10) {
		t.IPAddresses = []net.IP{pick(g, addresses)}
	}
	if g.chance(25) {
		t.URIs = append(t.URIs, &url.URL{Scheme: "https", Host: pick(g, oddHosts), Path: "/"})
	}
	if g.chance(2 * calm) {
		t.URIs = nil
	}
	if g.chance(3 * calm) {
		g.usages(t)
	}
	if g.chance(6 * calm) {
		t.BasicConstraintsValid, t.IsCA = true, g.chance(2)
	}
	if g.chance(8 * calm) {
		t.KeyUsage |= pick(g, []x509.KeyUsage{x509.KeyUsageCertSign, x509.KeyUsageCRLSign})
	}
	return g.sign(t, parent, g.key(), calm)
}

func (g *generator) template(calm int) *x509.Certificate {
	g.serial++
	t := &x509.Certificate{SerialNumber: big.NewInt(g.serial), NotBefore: now.Add(-365 * 24 * time.Hour), NotAfter: now.Add(365 * 24 * time.Hour)}
	if g.chance(3) {
		t.NotAfter = now.Add(time.Duration(1+g.IntN(700)) * 24 * time.Hour)
	}
	switch {
	case g.chance(3 * calm):
		t.NotAfter = now.Add(-time.Duration(g.IntN(3)) * time.Second)
	case g.chance(4 * calm):
		t.NotBefore = now.Add(time.Duration(g.IntN(3)-1) * time.Second)
	}
	if g.chance(8 * calm) {
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: g.chance(2), Value: []byte{5, 0}})
	}
	return t
}

func (g *generator) usages(t *x509.Certificate) {
	t.ExtKeyUsage, t.UnknownExtKeyUsage = nil, nil
	for range 1 + g.IntN(2) {
		switch usage := pick(g, []x509.ExtKeyUsage{
			x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageClientAuth,
			x509.ExtKeyUsageAny, x509.ExtKeyUsageCodeSigning, -1,
		}); usage {
		case -1:
			t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3, 5}}
		default:
			t.ExtKeyUsage = append(t.ExtKeyUsage, usage)
		}
	}
}

var (
	domains     = []string{"cluster.local", "cluster.local", "cluster.local", "other.local", "sub.cluster.local", "local"}
	hosts       = []string{"a.dapr-system.svc", "svc", "*.dapr-system.svc", "b.example.com", "EXAMPLE.com", "x.y.example.com", "example.com"}
	mails       = []string{"me@example.com", "you@sub.example.com", "me@EXAMPLE.com", "odd..dots@example.com"}
	addresses   = []net.IP{net.IPv4(10, 0, 0, 1).To4(), net.IPv4(192, 168, 1, 1).To4(), net.ParseIP("fd00::1")}
	oddHosts    = []string{"example.com:8443", "10.0.0.1", "[fd00::1]:80", "", "Example.com", "a.b.example.com"}
	domainRules = []string{"cluster.local", ".cluster.local", "local", ".local", "other.local", "Cluster.Local", "example.com", "dapr-system.svc", "svc", ".svc", "a.dapr-system.svc", ""}
	mailRules   = []string{"example.com", ".example.com", "me@example.com", "sub.example.com", "other.org"}
)

func (g *generator) constraints(t *x509.Certificate) {
	t.PermittedDNSDomainsCritical = g.chance(2)
	for range 1 + g.IntN(3) {
		rule := pick(g, domainRules)
		switch g.IntN(10) {
		case 0, 1:
			t.PermittedDNSDomains = append(t.PermittedDNSDomains, rule)
		case 2:
			t.ExcludedDNSDomains = append(t.ExcludedDNSDomains, rule)
		case 3, 4, 5:
			t.PermittedURIDomains = append(t.PermittedURIDomains, rule)
		case 6:
			t.ExcludedURIDomains = append(t.ExcludedURIDomains, rule)
		case 7:
			t.PermittedEmailAddresses = append(t.PermittedEmailAddresses, pick(g, mailRules))
		case 8:
			t.ExcludedEmailAddresses = append(t.ExcludedEmailAddresses, pick(g, mailRules))
		case 9:
			_, network, err := net.ParseCIDR(pick(g, []string{"10.0.0.0/8", "192.168.1.1/32", "0.0.0.0/0", "fd00::/7", "10.0.0.0/31"}))
			must(err)
			if g.chance(2) {
				t.PermittedIPRanges = append(t.PermittedIPRanges, network)
			} else {
				t.ExcludedIPRanges = append(t.ExcludedIPRanges, network)
			}
		}
	}
}

// sign signs with the key of parent, or sometimes with another; sometimes names another key identifier.
func (g *generator) sign(t *x509.Certificate, parent *authority, public crypto.Signer, calm int) []byte {
	by := &x509.Certificate{Subject: parent.name, SubjectKeyId: parent.skid}
	t.AuthorityKeyId = parent.skid
	key := parent.key
	if g.chance(10 * calm) {
		key = g.key()
	}
	if g.chance(8) {
		by.SubjectKeyId = []byte{byte(g.IntN(7)), byte(g.IntN(2))}
	}
	if g.chance(12) {
		by.SubjectKeyId, t.AuthorityKeyId = nil, nil
	}
	if g.chance(12 * calm) {
		by.Subject.CommonName = "nobody"
	}
	if _, ok := key.(*ecdsa.PrivateKey); ok && g.slow {
		t.SignatureAlgorithm = pick(g, []x509.SignatureAlgorithm{x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512})
	}
	// CreateCertificate compares key and parent only if the parent has a public key.
	der, err := x509.CreateCertificate(rand.Reader, t, by, public.Public(), key)
	must(err)
	return der
}
