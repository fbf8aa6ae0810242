-- refused: which is text
SELECT COUNT(*) FROM invoices i JOIN customers c ON i.issuer_id = c.code;

-- refused: which is text
SELECT COUNT(*) FROM customers WHERE code = 7;

-- refused: which is text
SELECT COUNT(*) FROM customers WHERE code IN (7, 12);

-- refused: which is text
SELECT COUNT(*) FROM invoices WHERE issuer_id IN (SELECT code FROM customers);

-- refused: more digits than its type
SELECT i + 1 FROM numbers;

-- refused: more digits than its type
SELECT i * 2 FROM numbers;

-- refused: more digits than its type
SELECT -i - 2 FROM numbers;

-- refused: more digits than its type
SELECT SUM(i) FROM numbers;

-- refused: divides by zero
SELECT amount_usd / (issuer_id - issuer_id) FROM invoices;

-- refused: cannot be CAST
SELECT CAST(name AS BIGINT) FROM customers;

-- refused: there is no column amount. Did you mean amount_usd?
SELECT amount FROM invoices;

-- refused: there is no table invoice. Did you mean invoices?
SELECT 1 FROM invoice;

-- refused: GROUP BY
SELECT issuer_id, SUM(amount_usd) FROM invoices;

-- refused: date_tronc
SELECT date_tronc('month', issue_date) FROM invoices;

-- refused: not SQL
SELEC 1;

-- refused: DDL
CREATE TABLE x AS SELECT 1;

-- refused: DML
INSERT INTO invoices SELECT * FROM invoices;

-- refused: MATCH_CONDITION
SELECT COUNT(*) FROM invoices ASOF JOIN customers ON invoices.issue_date >= customers.since;

-- refused: PIVOT
PIVOT invoices ON issuer_id USING SUM(amount_usd);

-- refused: INTERSECT ALL
SELECT COUNT(*) FROM (SELECT country FROM customers INTERSECT ALL SELECT country FROM customers WHERE customer_id < 9) t;

-- refused: EXCEPT ALL
WITH x AS (SELECT country FROM customers EXCEPT ALL SELECT 'DE') SELECT COUNT(*) FROM x;

-- refused: > ALL
SELECT COUNT(*) FROM customers WHERE credit_limit > ALL (SELECT credit_limit FROM customers WHERE credit_limit IS NOT NULL);

-- refused: Consider aliasing
SELECT SUM(amount_usd), SUM(amount_usd) FROM invoices;

-- refused: must appear in the GROUP BY
SELECT country, COUNT(*) FROM customers GROUP BY ROLLUP (1);

-- refused: md5
SELECT MD5(name) FROM customers;

-- refused: Empty tuple
SELECT COUNT(*) FROM invoices GROUP BY ();

-- refused: NOT EXISTS
SELECT COUNT(*) FROM customers WHERE credit_limit > 5 OR customer_id NOT IN (SELECT receiver_id FROM invoices);

-- refused: NOT EXISTS
SELECT COUNT(*) FROM customers WHERE (customer_id NOT IN (SELECT receiver_id FROM invoices)) IS NULL;

-- refused: loses NULLs
SELECT COUNT(*) FROM customers WHERE 5 NOT IN (SELECT receiver_id FROM invoices);

-- refused: NOT EXISTS
SELECT 1 FROM customers UNION ALL SELECT 2 FROM customers WHERE COALESCE(customer_id NOT IN (SELECT receiver_id FROM invoices), true);

-- refused: names a subquery and nothing else
SELECT COUNT(*) FROM customers HAVING (SELECT MIN(credit_limit) FROM customers) < 0;

-- refused: leave it out of the order
SELECT country, COUNT(*) FROM customers WHERE country = 'DE' GROUP BY CUBE (country, customer_id) ORDER BY country;
