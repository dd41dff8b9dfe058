// Package config reads the program's settings: defaults, then a file, then the environment, then flags, each over the
// one before. An unknown name and a value that does not fit are errors that name the setting.
package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Config is every setting of the program. A field's tags are its definition:
//
//	key      the name: key access_ttl is variable HEARTH_ACCESS_TTL, flag --access-ttl and access_ttl in the file
//	default  the value when no layer sets it; an empty value in any layer stands for it
//	min, max the bounds, inclusive, of a number, size or duration
//	schemes  the URL schemes that are allowed; enum: the words that are allowed
//	off      "true" where the word "off" is a value; it reads as the zero value
//	secret   "true" where the whole value is secret; "url" where a URL's credentials are
//	group    the heading in the help; help: what it is for
//
// A Config is read once at the start and not changed after that.
type Config struct {
	Addr             string         `key:"addr" default:":8080" kind:"addr" group:"Server" help:"Address of the API: host:port, or :port for every interface."`
	AdminAddr        string         `key:"admin_addr" default:"127.0.0.1:9090" kind:"addr" off:"true" group:"Server" help:"Address of the metrics and profiles, or off. Keep it private: it has no authentication."`
	PublicURL        string         `key:"public_url" kind:"url" schemes:"http,https" group:"Server" help:"Address of the server as users see it: links in e-mail begin with it. Default: http://localhost and the port."`
	Worker           bool           `key:"worker" default:"true" group:"Server" help:"Run background jobs in the server too; false where workers run as processes of their own."`
	QueueConcurrency Concurrency    `key:"queue_concurrency" group:"Server" help:"Jobs of each queue that a worker runs at once, such as export=2,cleanup=0. A queue left out keeps its default; 0 leaves it to other workers."`
	TrustedProxies   []netip.Prefix `key:"trusted_proxies" group:"Server" help:"Networks (CIDR, or a single address) whose X-Forwarded-For counts."`
	AccelRedirect    string         `key:"accel_redirect" group:"Server" help:"Internal location of a trusted nginx for the directory of files, such as /.hearth/files/: nginx sends export files then. Empty: the program does."`
	Connections      int            `key:"connections_per_address" default:"2000" min:"1" max:"1000000" off:"true" group:"Server" help:"Connections that one address may have open at once, or off. Behind a trusted proxy: requests under way. The loopback has no limit."`
	AllowedOrigins   []string       `key:"allowed_origins" kind:"origin" group:"Server" help:"Origins of web pages that may call the API and open streams, such as https://home.example, each by itself; * for all."`
	WebhookAllow     Allow          `key:"webhook_allow" group:"Server" help:"Private networks (CIDR), addresses and hosts that webhooks may reach, such as 10.0.0.0/8,hooks.internal. Empty: public addresses alone."`

	BodyLimit       Bytes         `key:"body_limit" default:"1MiB" min:"1KiB" max:"64MiB" group:"Server" help:"Largest request body."`
	BatchBodyLimit  Bytes         `key:"batch_body_limit" default:"16MiB" min:"1KiB" max:"256MiB" group:"Server" help:"Largest body of a batch of logs."`
	ShutdownTimeout time.Duration `key:"shutdown_timeout" default:"15s" min:"100ms" max:"15s" group:"Server" help:"How long a stop waits for requests in progress."`

	TLSAddr string `key:"tls_addr" default:"off" kind:"addr" off:"true" group:"Server" help:"Address of the API over HTTPS, such as :8443, or off. addr stays plain HTTP: bind it to 127.0.0.1 then."`
	TLSCert string `key:"tls_cert" group:"Server" help:"File of the certificate of tls_addr and mqtts_addr, and those that vouch for it (PEM). It is read again when it changes."`
	TLSKey  string `key:"tls_key" group:"Server" help:"File of the certificate's private key (PEM)."`

	MQTTAddr  string `key:"mqtt_addr" default:"off" kind:"addr" off:"true" group:"Devices" help:"Address of MQTT for devices, such as :1883, or off. Over WebSocket it is always served, at /api/v1/mqtt."`
	MQTTSAddr string `key:"mqtts_addr" default:"off" kind:"addr" off:"true" group:"Devices" help:"Address of MQTT over TLS, such as :8883, or off. It needs tls_cert and tls_key."`

	DataDir        string        `key:"data_dir" default:"./hearth-data" group:"Storage" help:"Folder of everything that has no address of its own: database, keys, files, mail. Created with mode 0700."`
	StoreURL       string        `key:"store_url" kind:"url" schemes:"mongodb,mongodb+srv" secret:"url" group:"Storage" help:"Database, such as mongodb://host/hearth. Empty: SQLite in the data directory."`
	RedisURL       string        `key:"redis_url" kind:"url" schemes:"redis,rediss" secret:"url" group:"Storage" help:"Redis shared by several instances, such as redis://host:6379/0. Empty: none, one process alone."`
	BlobURL        string        `key:"blob_url" kind:"url" schemes:"s3,file" secret:"url" group:"Storage" help:"Storage of export files, archives and backups, such as s3://bucket?endpoint=https://host:9000, or file:///mnt/hearth for a directory that all instances mount. Empty: the data directory."`
	Retention      time.Duration `key:"retention" default:"off" min:"1m" off:"true" group:"Storage" help:"How long logs are kept, such as 90d, or off to keep them for ever."`
	AuditRetention time.Duration `key:"audit_retention" default:"off" min:"1d" off:"true" group:"Storage" help:"How long the audit is kept, such as 730d, or off to keep it for ever. Entries are removed within two days after, and an entry says so."`
	Archive        bool          `key:"archive" default:"off" group:"Storage" help:"on: logs are written to Parquet files by month before retention deletes them; hearth import reads them back."`
	Quotas         Quotas        `key:"quotas" group:"Storage" help:"How many devices, logs a day and event names a user or an organization may have (devices, logs, events), event names a device (device_events), and how much space the stored logs of a user or an organization may take (bytes), such as devices=1000,logs=5000000,bytes=2GiB, or off for all. One left out keeps its default."`
	CacheSize      Bytes         `key:"cache_size" default:"64MiB" max:"64GiB" off:"true" group:"Storage" help:"Memory for cached answers, or off."`

	BackupSchedule Schedule `key:"backup_schedule" default:"off" off:"true" group:"Backup" help:"When backups are made: an interval such as 6h, or 24h@03:30 for a time of day in UTC; or off."`
	BackupKeep     int      `key:"backup_keep" default:"7" min:"1" max:"10000" group:"Backup" help:"Backups of the schedule that are kept; older ones are removed. Those made by hand are kept."`
	BackupDir      string   `key:"backup_dir" group:"Backup" help:"Folder of the backups. Empty: the storage of files (blob_url), under backups/."`
	BackupKeys     []Key    `key:"backup_key" secret:"true" group:"Backup" help:"32 random bytes in base64 (openssl rand -base64 32) that encrypt backups. Several, by commas: the first encrypts, each decrypts what it encrypted. Keep it apart from the backups."`

	SMTPURL  string `key:"smtp_url" kind:"url" schemes:"smtp,smtps" secret:"url" group:"Mail" help:"Mail server, such as smtp://user:password@host:587. Empty: mail is written to the data directory."`
	MailFrom string `key:"mail_from" default:"hearth <hearth@localhost>" kind:"mailbox" group:"Mail" help:"Sender of the mail."`

	Signup            Signup        `key:"signup" default:"open" enum:"open,invite,closed" group:"Accounts" help:"Who may sign up: anyone, users with an invitation, or no one."`
	AccessTTL         time.Duration `key:"access_ttl" default:"15m" min:"1s" max:"1d" group:"Accounts" help:"Life of an access token."`
	RefreshTTL        time.Duration `key:"refresh_ttl" default:"168h" min:"1s" max:"365d" group:"Accounts" help:"Life of a login: refreshing never extends it, and no access token outlives it."`
	RefreshLeeway     time.Duration `key:"refresh_leeway" default:"10s" max:"5m" off:"true" group:"Accounts" help:"For how long a used refresh token returns the same new one again, to two tabs or after a lost answer; 0 or off for not at all."`
	BcryptCost        int           `key:"bcrypt_cost" default:"10" min:"4" max:"15" group:"Accounts" help:"Cost of a password hash; below 10 is for tests only."`
	BcryptConcurrency int           `key:"bcrypt_concurrency" default:"0" min:"0" max:"256" group:"Accounts" help:"Password hashes at once, so that logins do not delay devices; 0: half of the processors."`
	EncryptionKeys    []Key         `key:"encryption_key" secret:"true" group:"Accounts" help:"32 random bytes in base64 (openssl rand -base64 32) that encrypt personal and secret fields. Several, by commas: the first encrypts, the others still decrypt."`
	RateLimits        RateLimits    `key:"rate_limits" group:"Accounts" help:"Requests in a period by class, such as auth=5/1m,general=off, or off for all. A class left out keeps its default."`

	LogLevel     slog.Level    `key:"log_level" default:"info" group:"Observing" help:"Lowest level that is logged: debug, info, warn or error."`
	LogFormat    string        `key:"log_format" default:"auto" enum:"auto,text,json" group:"Observing" help:"Form of the log; auto is text on a terminal, else json."`
	LogDir       string        `key:"log_dir" group:"Observing" help:"Folder of the rotating files combined.log and error.log. Empty: standard error alone."`
	SlowRequest  time.Duration `key:"slow_request" default:"1s" off:"true" group:"Observing" help:"Requests slower than this are logged as performance, or off."`
	SlowQuery    time.Duration `key:"slow_query" default:"200ms" off:"true" group:"Observing" help:"Database operations slower than this are logged as performance, or off."`
	Metrics      bool          `key:"metrics" default:"true" group:"Observing" help:"Count requests and operations of the store; false only to measure the cost of counting."`
	OTLPEndpoint string        `key:"otlp_endpoint" kind:"url" schemes:"http,https" secret:"url" group:"Observing" help:"Receiver of traces, OTLP over HTTP, such as http://localhost:4318. Empty: no traces."`
	OTLPRatio    float64       `key:"otlp_ratio" default:"0.1" min:"0" max:"1" group:"Observing" help:"Share of requests that are traced, with the jobs they cause."`

	raw map[string]value // by key: what was said, and where
}

// Signup says who may make an account.
type Signup string

// The values of Signup.
const (
	SignupOpen   Signup = "open"
	SignupInvite Signup = "invite"
	SignupClosed Signup = "closed"
)

// Default returns the settings of a server without configuration.
func Default() *Config {
	cfg, err := Load(Options{})
	if err != nil { // a test loads the defaults, so no release can get here
		panic("config: the defaults are not valid: " + err.Error())
	}
	return cfg
}

// Format prints the settings as Print does, so that no verb of package fmt shows a secret.
func (c *Config) Format(state fmt.State, _ rune) { _ = c.Print(state) }

// LogValue hides the settings from logs.
func (c *Config) LogValue() slog.Value { return slog.StringValue(redacted) }

// HashSlots says how many password hashes may run at once: BcryptConcurrency, or half of the processors, at least 1.
func (c *Config) HashSlots() int {
	if c.BcryptConcurrency > 0 {
		return c.BcryptConcurrency
	}
	return max(1, runtime.GOMAXPROCS(0)/2)
}

// Validate checks what no single setting can know. Load has called it; a Config that was made by hand needs it.
func (c *Config) Validate() error {
	var errs []error
	if c.BatchBodyLimit < c.BodyLimit {
		errs = append(errs, fmt.Errorf("%s must not be smaller than body_limit", c.name("batch_body_limit")))
	}
	errs = append(errs, c.checkAddrs(), c.checkPublicURL())
	if c.Archive && c.Retention == 0 {
		errs = append(errs, fmt.Errorf("%s needs retention: logs are archived before they are deleted, and without it none is", c.name("archive")))
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, fmt.Errorf("%s and %s are needed together", c.name("tls_cert"), c.name("tls_key")))
	}
	for _, one := range []struct{ key, addr string }{{"tls_addr", c.TLSAddr}, {"mqtts_addr", c.MQTTSAddr}} {
		if one.addr != "" && c.TLSCert == "" {
			errs = append(errs, fmt.Errorf("%s needs tls_cert and tls_key", c.name(one.key)))
		}
	}
	if c.AccelRedirect != "" {
		if !strings.HasPrefix(c.AccelRedirect, "/") || !strings.HasSuffix(c.AccelRedirect, "/") || path.Clean(c.AccelRedirect) == "/" ||
			path.Clean(c.AccelRedirect)+"/" != c.AccelRedirect || strings.Trim(c.AccelRedirect, pathLetters) != "" {
			errs = append(errs, fmt.Errorf("%s must be a location of nginx: letters, digits and -._ between slashes, with one at its begin and its end", c.name("accel_redirect")))
		}
		if len(c.TrustedProxies) == 0 {
			errs = append(errs, fmt.Errorf("%s needs trusted_proxies: only a trusted nginx is asked to send files", c.name("accel_redirect")))
		}
		if strings.HasPrefix(c.BlobURL, "s3:") {
			errs = append(errs, fmt.Errorf("%s is for files in a directory, and blob_url names an object storage", c.name("accel_redirect")))
		}
	}
	return errors.Join(errs...)
}

// pathLetters are those that mean the same in every part of a path, in a header and to nginx.
const pathLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/"

// Address returns the address of the server as users see it, without a slash at its end.
func (c *Config) Address() string {
	if c.PublicURL != "" {
		return strings.TrimRight(c.PublicURL, "/")
	}
	_, port, err := net.SplitHostPort(c.Addr)
	if err != nil || strings.Trim(port, "0") == "" {
		return "http://localhost"
	}
	return "http://localhost:" + port
}

// FieldKeys returns the keys that encrypt fields, as they are used.
func (c *Config) FieldKeys() [][]byte {
	all := make([][]byte, len(c.EncryptionKeys))
	for i := range c.EncryptionKeys {
		all[i] = c.EncryptionKeys[i][:]
	}
	return all
}

// checkPublicURL refuses what links in e-mails cannot begin with. The console and the API are at the root of their host.
func (c *Config) checkPublicURL() error {
	if c.PublicURL == "" {
		return nil
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.User != nil || u.Path != "" && u.Path != "/" || strings.ContainsAny(c.PublicURL, "?#") {
		return fmt.Errorf("%s must be a scheme and a host, such as https://home.example, without a user, a path or a query", c.name("public_url"))
	}
	if everywhere(u.Hostname()) {
		return fmt.Errorf("%s must be an address that browsers can open, not that of every interface", c.name("public_url"))
	}
	return nil
}

// checkAddrs refuses addresses of which only one can be listened at.
func (c *Config) checkAddrs() error {
	var errs []error
	of := []struct{ key, addr string }{
		{"addr", c.Addr}, {"admin_addr", c.AdminAddr}, {"tls_addr", c.TLSAddr}, {"mqtt_addr", c.MQTTAddr}, {"mqtts_addr", c.MQTTSAddr},
	}
	for i, one := range of {
		for _, other := range of[:i] {
			switch {
			case !sameAddr(one.addr, other.addr):
			case one.key == "admin_addr":
				errs = append(errs, fmt.Errorf("%s must not be the address of the API: metrics and profiles are private", c.name("admin_addr")))
			default:
				errs = append(errs, fmt.Errorf("%s must not be the address of %s", c.name(one.key), other.key))
			}
		}
	}
	return errors.Join(errs...)
}

// sameAddr reports whether two addresses have the same port, and the same host or every interface.
func sameAddr(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || ephemeral(a) || strings.TrimLeft(portA, "0") != strings.TrimLeft(portB, "0") {
		return false
	}
	return hostA == hostB || everywhere(hostA) || everywhere(hostB)
}

func everywhere(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "" || err == nil && addr.IsUnspecified()
}

// Advice returns sentences about settings that are allowed and rarely wanted: a fleet shares its database, its Redis and its
// files, and an instance that lacks one of them sees only its own.
func (c *Config) Advice() (sentences []string) {
	if c.StoreURL != "" && c.RedisURL == "" {
		sentences = append(sentences, "store_url is set and redis_url is not: this is right for one instance; several need a redis_url, or they do not see one another's jobs, limits and events")
	}
	if c.StoreURL != "" && c.BlobURL == "" {
		sentences = append(sentences, "store_url is set and blob_url is not: files of exports stay in this instance's data directory; several instances need a blob_url")
	}
	if c.StoreURL == "" && c.RedisURL != "" {
		sentences = append(sentences, "redis_url is set and store_url is not: the database is this machine's alone, so that Redis only costs time; set store_url too, or leave redis_url out")
	}
	if slices.ContainsFunc(c.TrustedProxies, func(p netip.Prefix) bool { return p.Bits() == 0 }) {
		sentences = append(sentences, "trusted_proxies holds every address: each client chooses the address that limits and lockouts count it by; name the proxies alone")
	}
	if c.TLSCert != "" && c.TLSAddr == "" && c.MQTTSAddr == "" {
		sentences = append(sentences, "tls_cert and tls_key are set and neither tls_addr nor mqtts_addr is: nothing is served over TLS")
	}
	return sentences
}

// name returns the name of a setting as the user wrote it, for messages.
func (c *Config) name(key string) string {
	if v, ok := c.raw[key]; ok && v.name != "" {
		return v.name
	}
	return key
}

// IsDefault reports whether no layer set the setting with that key.
func (c *Config) IsDefault(key string) bool { return c.raw[key].name == "" }
