package testserver

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// resetLimit bounds what is done to a database between two tests.
const resetLimit = time.Minute

// Template returns tests databases that begin alike. Making collections and indexes takes the tests' server most of a second,
// removing them a third of one: so a database is made once, and emptied and given to the next test when a test is done
// with it. All of a process are dropped by Drop.
type Template struct {
	// Make brings a database that has nothing to the state that every test begins with.
	Make func(ctx context.Context, uri string) error

	mu     sync.Mutex
	client *mongo.Client
	free   []*made
	all    []*made
}

// made is a database of a template.
type made struct {
	uri  string
	data *mongo.Database
	// begin are the documents that each test begins with, by collection; collections without any have none.
	begin map[string][]any
}

// MongoDB returns the URI of a database that looks as Make left it. It is the test's alone until the test ends, or until giveBack
// is called, which may be called twice.
func (p *Template) MongoDB(tb testing.TB) (uri string, giveBack func()) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), resetLimit)
	defer cancel()
	d, err := p.take(ctx)
	if err != nil {
		tb.Fatalf("a database of the tests' server cannot be had: %v", err)
	}
	giveBack = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), resetLimit)
		defer cancel()
		if err := d.reset(ctx); err != nil {
			tb.Errorf("empty the test's database: %v", err)
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.free = append(p.free, d)
	})
	tb.Cleanup(giveBack)
	return d.uri, giveBack
}

// take returns a free database, making one if there is none.
func (p *Template) take(ctx context.Context) (*made, error) {
	server, err := mongodb()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	if p.client == nil {
		p.client, err = mongo.Connect(options.Client().ApplyURI(server))
	}
	if n := len(p.free); n > 0 && err == nil {
		d := p.free[n-1]
		p.free = p.free[:n-1]
		p.mu.Unlock()
		return d, nil
	}
	client := p.client
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	name := databaseName()
	d := &made{uri: server + name, data: client.Database(name), begin: map[string][]any{}}
	p.mu.Lock()
	p.all = append(p.all, d)
	p.mu.Unlock()
	if err := p.Make(ctx, d.uri); err != nil {
		return nil, err
	}
	return d, d.note(ctx)
}

// note remembers the documents that are there.
func (d *made) note(ctx context.Context) error {
	names, err := d.data.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return err
	}
	for _, name := range names {
		cursor, err := d.data.Collection(name).Find(ctx, bson.D{})
		if err != nil {
			return err
		}
		var documents []bson.Raw
		if err := cursor.All(ctx, &documents); err != nil {
			return err
		}
		d.begin[name] = nil
		for _, document := range documents {
			d.begin[name] = append(d.begin[name], document)
		}
	}
	return nil
}

// reset brings the database back to how it began.
func (d *made) reset(ctx context.Context) error {
	names, err := d.data.ListCollectionNames(ctx, bson.D{})
	if err != nil {
		return err
	}
	for _, name := range names {
		documents, known := d.begin[name]
		if !known {
			if err := d.data.Collection(name).Drop(ctx); err != nil {
				return err
			}
			continue
		}
		if _, err := d.data.Collection(name).DeleteMany(ctx, bson.D{}); err != nil {
			return err
		}
		if len(documents) == 0 {
			continue
		}
		if _, err := d.data.Collection(name).InsertMany(ctx, documents); err != nil {
			return err
		}
	}
	return nil
}

// Drop removes all databases that the template made. It is called once, when no test runs any more.
func (p *Template) Drop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resetLimit)
	defer cancel()
	for _, d := range p.all {
		if err := d.data.Drop(ctx); err != nil {
			return err
		}
	}
	return p.client.Disconnect(ctx)
}
