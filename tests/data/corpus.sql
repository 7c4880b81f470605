-- One of every object that the corpus of bad backups takes away or changes. Runs on PostgreSQL 15 to 18 with hstore, and a role corpus_reader.
CREATE EXTENSION hstore;
COMMENT ON EXTENSION hstore IS 'as the source has it';

CREATE TABLE authors (id int PRIMARY KEY, name text DEFAULT 'nobody' NOT NULL);
INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(1, 20) n;
COMMENT ON TABLE authors IS 'who writes';
CREATE TABLE books (id serial PRIMARY KEY, author int, title text, price numeric, tags hstore, CONSTRAINT priced CHECK (price > 0));
INSERT INTO books (author, title, price, tags) SELECT n % 20 + 1, md5(n::text), n, hstore('n', n::text) FROM generate_series(1, 300) n;
ALTER TABLE books ADD CONSTRAINT by_author FOREIGN KEY (author) REFERENCES authors;
ALTER TABLE books ADD CONSTRAINT long_title CHECK (length(title) > 40) NOT VALID;
CREATE INDEX books_by_title ON books (title);
CREATE TABLE empty (a int);
CREATE TABLE measures (at date, value int) PARTITION BY RANGE (at);
CREATE TABLE measures_2026 PARTITION OF measures FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO measures SELECT '2026-01-01'::date + n, n FROM generate_series(1, 100) n;

CREATE FUNCTION discount(price numeric) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
  -- The rate is far from the name.
  --
  RETURN price * 0.9;
END $$;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER stamped BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER asleep BEFORE UPDATE ON books FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE books DISABLE TRIGGER asleep;
CREATE POLICY only_cheap ON books USING (price < 100);
CREATE VIEW titles AS SELECT name, title FROM authors JOIN books ON author = authors.id;
CREATE MATERIALIZED VIEW counted AS SELECT author, count(*) AS n FROM books GROUP BY author;
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 AS a WITH NO DATA;
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE SEQUENCE numbers START 7;
SELECT nextval('numbers'), nextval('numbers');
ALTER TABLE authors OWNER TO corpus_reader;
GRANT SELECT ON books TO corpus_reader;

SELECT lo_from_bytea(4711, decode(repeat('00ff275c', 5000), 'hex'));
SELECT lo_from_bytea(4712, 'short');
CREATE TABLE points_to_large_objects (content oid);
INSERT INTO points_to_large_objects VALUES (4711), (4712);

-- Changes a copy on its way in, by a statement that is no part of a schema: see inserted_into_copy.
CREATE FUNCTION meddle(statement text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN ''; END $$;
