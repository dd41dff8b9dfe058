// Package s3blob keeps files in a bucket of an S3-compatible object storage.
package s3blob

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"hearth"
	"hearth/internal/blob"
)

// Options say where the bucket is.
type Options struct {
	// Endpoint is the storage's URL, such as https://s3.eu-central-1.amazonaws.com; http:// is without TLS.
	Endpoint string
	// Bucket must exist.
	Bucket string
	// Prefix is put in front of every key, with a slash between; it follows the rules of a key.
	Prefix string
	// Region may be empty: it is asked for then.
	Region string
	// AccessKey and SecretKey; when both are empty, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or MINIO_ACCESS_KEY and
	// MINIO_SECRET_KEY from the environment, AWS's file of credentials, or the machine's role.
	AccessKey string
	SecretKey string
	// PartSize is how much of a file is held in memory while it is written, in bytes, at least 5 MiB; 0 is 8 MiB. A file has
	// at most 10,000 parts.
	PartSize uint64
	// Transport is for tests; nil is a transport with timeouts.
	Transport http.RoundTripper
}

// ParseURL reads s3://[key:secret@]bucket[/prefix]?endpoint=…[&region=…][&part_size=bytes]. Errors do not repeat the URL, which
// may hold a secret.
func ParseURL(raw string) (Options, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Options{}, errors.New("the URL of the object storage cannot be read")
	}
	if u.Scheme != "s3" || u.Host == "" {
		return Options{}, errors.New("the URL of the object storage must be s3://bucket?endpoint=https://…")
	}
	o := Options{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), AccessKey: u.User.Username()}
	o.SecretKey, _ = u.User.Password()
	for name, values := range u.Query() {
		value := values[len(values)-1]
		switch name {
		case "endpoint":
			o.Endpoint = value
		case "region":
			o.Region = value
		case "part_size":
			if o.PartSize, err = strconv.ParseUint(value, 10, 63); err != nil {
				return Options{}, errors.New("part_size must be a number of bytes")
			}
		default:
			return Options{}, fmt.Errorf("the URL of the object storage has the unknown part %q", name)
		}
	}
	return o, o.validate()
}

const minPart = 5 << 20

func (o Options) validate() error {
	e, err := url.Parse(o.Endpoint)
	switch {
	case err != nil, e.Scheme != "http" && e.Scheme != "https", e.Host == "", strings.Trim(e.Path, "/") != "", e.User != nil, e.RawQuery != "":
		return errors.New("the endpoint of the object storage must be http:// or https:// and a host")
	case strings.HasSuffix(e.Host, ":"), e.Port() != "" && !isPort(e.Port()), e.Fragment != "", strings.ContainsAny(e.Host, "*, "):
		return errors.New("the endpoint of the object storage must have one host, and a port from 1 to 65535 or none")
	case s3utils.CheckValidBucketName(o.Bucket) != nil, strings.Contains(o.Bucket, ":"):
		return errors.New("the object storage needs a bucket: 3 to 63 letters, digits, hyphens and dots")
	case (o.AccessKey == "") != (o.SecretKey == ""):
		return errors.New("the object storage needs both parts of its credentials, or none")
	case o.PartSize != 0 && o.PartSize < minPart:
		return fmt.Errorf("part_size must be at least %d", minPart)
	case o.Prefix != "":
		return blob.ValidateKey(o.Prefix)
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

// Store implements blob.Store.
type Store struct {
	core   minio.Core
	bucket string
	// prefix is "" or ends with a slash.
	prefix    string
	partSize  uint64
	transport http.RoundTripper
}

var _ blob.Store = (*Store)(nil)

// Open prepares the use of the bucket. It does not connect: Ping does.
func Open(o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Transport == nil {
		o.Transport = &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: 60 * time.Second,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   16,
			MaxConnsPerHost:       64,
			// A stored gzip file is not to be unpacked on its way.
			DisableCompression: true,
		}
	}
	keys := credentials.NewStaticV4(o.AccessKey, o.SecretKey, "")
	if o.AccessKey == "" {
		keys = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		})
	}
	core, err := minio.NewCore(endpoint.Host, &minio.Options{
		Creds: keys, Secure: endpoint.Scheme == "https", Region: o.Region, Transport: o.Transport, MaxRetries: 3,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{core: *core, bucket: o.Bucket, partSize: o.PartSize, transport: o.Transport}
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	s.partSize = cmp.Or(s.partSize, 8<<20)
	return s, nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	info, _, err := s.stat(ctx, key)
	return info, err
}

func (s *Store) stat(ctx context.Context, key string) (blob.Info, string, error) {
	if err := blob.ValidateKey(key); err != nil {
		return blob.Info{}, "", err
	}
	o, err := s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
	if err != nil {
		return blob.Info{}, "", translate(ctx, err)
	}
	return s.info(o), o.ETag, nil
}

func (s *Store) info(o minio.ObjectInfo) blob.Info {
	return blob.Info{Key: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, ModTime: hearth.Millis(o.LastModified)}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.ValidateKey(key); err != nil {
		return err
	}
	err := translate(ctx, s.core.RemoveObject(ctx, s.bucket, s.prefix+key, minio.RemoveObjectOptions{}))
	if hearth.ErrorCode(err) == hearth.CodeNotFound {
		return nil
	}
	return err
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, o blob.ListOptions) (blob.Page, error) {
	o, err := o.Normalize()
	if err != nil {
		return blob.Page{}, err
	}
	after := ""
	if o.After != "" {
		after = s.prefix + o.After
	}
	// Ended early, so that no further page is asked for.
	listing, end := context.WithCancel(ctx)
	defer end()
	var page blob.Page
	for object := range s.core.ListObjectsIter(listing, s.bucket, minio.ListObjectsOptions{
		Prefix: s.prefix + o.Prefix, StartAfter: after, Recursive: true, MaxKeys: min(o.Limit+1, blob.MaxLimit),
	}) {
		if object.Err != nil {
			return blob.Page{}, translate(ctx, object.Err)
		}
		info := s.info(object)
		if info.Key <= o.After || blob.ValidateKey(info.Key) != nil {
			continue
		}
		if len(page.Files) == o.Limit {
			page.Next = page.Files[o.Limit-1].Key
			break
		}
		page.Files = append(page.Files, info)
	}
	return page, nil
}

// Ping implements blob.Store.
func (s *Store) Ping(ctx context.Context) error {
	ok, err := s.core.BucketExists(ctx, s.bucket)
	if err != nil {
		return translate(ctx, err)
	}
	if !ok {
		return unavailable(fmt.Errorf("the bucket %s does not exist", s.bucket))
	}
	return nil
}

// Close implements blob.Store.
func (s *Store) Close() error {
	if t, ok := s.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
	return nil
}

// translate returns an error of the client one of our codes.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.Code == minio.NoSuchBucket:
		return unavailable(err)
	case answer.Code == minio.NoSuchKey, answer.StatusCode == http.StatusNotFound:
		return hearth.NotFound("file")
	case answer.Code == minio.PreconditionFailed, answer.StatusCode == http.StatusPreconditionFailed:
		return replaced(err)
	case answer.StatusCode == http.StatusInsufficientStorage, strings.Contains(answer.Code, "QuotaExceeded"),
		answer.Code == "XMinioStorageFull", answer.Code == "EntityTooLarge":
		return &hearth.Error{Code: hearth.CodeStorageFull, Message: "the object storage is full", RetryAfter: 30 * time.Second, Cause: err}
	}
	return unavailable(err)
}

func replaced(err error) error {
	return &hearth.Error{Code: hearth.CodeConflict, Message: "the file was replaced while it was read", Cause: err}
}

func unavailable(err error) error {
	return &hearth.Error{Code: hearth.CodeUnavailable, Message: "the storage of files does not answer", RetryAfter: time.Second, Cause: err}
}
