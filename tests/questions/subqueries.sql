SELECT COUNT(*) FROM invoices WHERE amount_usd > (SELECT AVG(amount_usd) FROM invoices);

SELECT issuer_id, s FROM (SELECT issuer_id, SUM(amount_usd) AS s FROM invoices GROUP BY 1) t WHERE s > (SELECT AVG(amount_usd) * 100 FROM invoices) ORDER BY 1;

SELECT COUNT(*) FROM customers WHERE customer_id NOT IN (SELECT receiver_id FROM invoices);

SELECT COUNT(*) FROM customers WHERE customer_id NOT IN (SELECT receiver_id FROM invoices WHERE receiver_id IS NOT NULL);

SELECT COUNT(*) FROM customers WHERE customer_id IN (SELECT receiver_id FROM invoices WHERE amount_usd > 9000);

SELECT COUNT(*) FROM customers WHERE country NOT IN ('DE', 'FR');

SELECT COUNT(*) FROM customers WHERE country NOT IN ('DE', NULL);

SELECT COUNT(*) FROM invoices WHERE receiver_id NOT IN (SELECT customer_id FROM customers WHERE country = 'DE');

SELECT COUNT(*) FROM invoices i WHERE amount_usd = (SELECT MAX(amount_usd) FROM invoices j WHERE j.issuer_id = i.issuer_id);

SELECT c.customer_id, (SELECT COUNT(*) FROM invoices i WHERE i.issuer_id = c.customer_id) AS n FROM customers c ORDER BY 1;

SELECT c.customer_id, (SELECT SUM(amount_usd) FROM invoices i WHERE i.issuer_id = c.customer_id AND i.amount_usd > 9000) AS n FROM customers c ORDER BY 1;

SELECT COUNT(*) FROM invoices i WHERE i.amount_usd > (SELECT AVG(amount_usd) FROM invoices j WHERE j.issuer_id = i.issuer_id);

WITH big AS (SELECT * FROM invoices WHERE amount_usd > 5000) SELECT COUNT(*), SUM(amount_usd) FROM big;

WITH a AS (SELECT issuer_id, SUM(amount_usd) AS s FROM invoices GROUP BY issuer_id), b AS (SELECT MAX(s) AS m FROM a) SELECT issuer_id FROM a, b WHERE s = m;

WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 10) SELECT SUM(x) FROM n;

WITH RECURSIVE f AS (SELECT 1 AS i, 1 AS a, 1 AS b UNION ALL SELECT i + 1, b, a + b FROM f WHERE i < 20) SELECT MAX(a) FROM f;

WITH RECURSIVE d AS (SELECT DATE '2026-01-01' AS day UNION ALL SELECT day + INTERVAL '1 day' FROM d WHERE day < DATE '2026-01-31') SELECT COUNT(*) FROM d;

WITH invoices AS (SELECT 1 AS x) SELECT * FROM invoices;

SELECT COUNT(*) FROM (SELECT DISTINCT issuer_id, receiver_id FROM invoices) t;

SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS t(n, s) ORDER BY n;

SELECT (SELECT COUNT(*) FROM customers) + (SELECT COUNT(*) FROM ratings);

SELECT issue_date_yearmonth, COUNT(*) FROM invoices WHERE issue_date_yearmonth = (SELECT MAX(issue_date_yearmonth) FROM invoices) GROUP BY 1;

SELECT COUNT(*) FROM customers c WHERE (SELECT COUNT(*) FROM invoices i WHERE i.issuer_id = c.customer_id) = 0;

SELECT COUNT(*) FROM customers WHERE customer_id = ANY (SELECT business_id FROM ratings);

SELECT issuer_id FROM invoices UNION SELECT customer_id FROM customers ORDER BY 1;

SELECT COUNT(*) FROM (SELECT issuer_id FROM invoices UNION ALL SELECT receiver_id FROM invoices) t;

SELECT receiver_id FROM invoices INTERSECT SELECT customer_id FROM customers WHERE country = 'DE' ORDER BY 1;

SELECT customer_id FROM customers EXCEPT SELECT issuer_id FROM invoices ORDER BY 1;

SELECT country FROM customers EXCEPT SELECT 'DE' ORDER BY 1 NULLS LAST;

SELECT country FROM customers INTERSECT SELECT NULL;

(SELECT 1 AS x UNION ALL SELECT 2) INTERSECT SELECT 2;

SELECT 1 AS x UNION ALL SELECT 2.5 ORDER BY x;

SELECT NULL AS x UNION ALL SELECT 3 ORDER BY x NULLS FIRST;
