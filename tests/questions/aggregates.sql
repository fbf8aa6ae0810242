SELECT COUNT(*), COUNT(receiver_id), COUNT(DISTINCT receiver_id) FROM invoices;

SELECT SUM(amount_usd), MIN(amount_usd), MAX(amount_usd), AVG(amount_usd) FROM invoices;

SELECT MIN(amount_usd), MIN(issue_date), MAX(issue_date), MAX(invoice_id) FROM invoices WHERE issuer_id = 3;

SELECT issuer_id, COUNT(*) AS n, SUM(amount_usd) AS total FROM invoices GROUP BY issuer_id ORDER BY total DESC, issuer_id;

SELECT issuer_id AS business, COUNT(*) FROM invoices GROUP BY business ORDER BY business;

SELECT issuer_id, receiver_id, COUNT(*) FROM invoices GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 NULLS LAST LIMIT 10;

SELECT r.rating.grade g, COUNT(*) FROM ratings r GROUP BY 1 ORDER BY 1 NULLS LAST;

SELECT r.rating.grade AS g, SUM(r.rating.score) FROM ratings r GROUP BY g ORDER BY g NULLS LAST;

SELECT rating.grade, COUNT(*) FROM ratings GROUP BY rating.grade;

SELECT COUNT(*), COUNT(*) + 1 FROM invoices;

SELECT SUM(amount_usd), SUM(amount_usd) / COUNT(*) FROM invoices;

SELECT SUM(amount_usd), SUM(-amount_usd), SUM(amount_usd + 1) FROM invoices;

SELECT SUM(amount_usd) FILTER (WHERE amount_usd > 0), SUM(amount_usd) FILTER (WHERE amount_usd < 0), COUNT(*) FILTER (WHERE receiver_id IS NULL) FROM invoices;

SELECT issuer_id, SUM(amount_usd) FILTER (WHERE amount_usd > 9000) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT issuer_id, SUM(CASE WHEN amount_usd > 0 THEN amount_usd ELSE 0 END) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT issuer_id FROM invoices GROUP BY issuer_id HAVING COUNT(*) > 100 ORDER BY 1;

SELECT issuer_id, SUM(amount_usd) AS s FROM invoices GROUP BY issuer_id HAVING SUM(amount_usd) > 400000 ORDER BY 1;

SELECT country, COUNT(*) FROM customers GROUP BY ROLLUP (country) ORDER BY 1 NULLS LAST, 2;

SELECT country, late, COUNT(*) FROM (SELECT country, since > DATE '2015-01-01' AS late FROM customers WHERE country IS NOT NULL) t GROUP BY ROLLUP (country, late) ORDER BY 1 NULLS LAST, 2 NULLS LAST;

SELECT a, b, SUM(amount_usd) FROM (SELECT issuer_id % 2 AS a, issuer_id % 3 AS b, amount_usd FROM invoices) t GROUP BY CUBE (a, b) ORDER BY 1 NULLS LAST, 2 NULLS LAST;

SELECT a, b, COUNT(*) FROM (SELECT issuer_id % 2 AS a, issuer_id % 3 AS b FROM invoices) t GROUP BY GROUPING SETS ((a), (b), ()) ORDER BY 1 NULLS LAST, 2 NULLS LAST;

SELECT country, GROUPING(country) AS g, COUNT(*) FROM customers GROUP BY ROLLUP (country) ORDER BY 2, 1 NULLS LAST;

SELECT DISTINCT country FROM customers ORDER BY country NULLS FIRST;

SELECT DISTINCT ON (country) country, customer_id FROM customers ORDER BY country, customer_id DESC;
-- duckdb: SELECT DISTINCT ON (country) country, customer_id FROM customers ORDER BY country NULLS LAST, customer_id DESC

SELECT COUNT(DISTINCT country), COUNT(DISTINCT code), COUNT(country) FROM customers;

SELECT COUNT(DISTINCT amount_usd), SUM(DISTINCT amount_usd) FROM invoices;

SELECT issuer_id, SUM(DISTINCT amount_usd) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT SUM(invoice_id), AVG(invoice_id), MIN(invoice_id) FROM invoices;

SELECT SUM(amount_usd) FROM invoices WHERE amount_usd > 1e6;

SELECT COUNT(*), SUM(amount_usd), MAX(amount_usd) FROM invoices WHERE FALSE;

SELECT BOOL_AND(amount_usd > -100), BOOL_OR(receiver_id IS NULL) FROM invoices;

SELECT country, STRING_AGG(code, ',' ORDER BY code) FROM customers GROUP BY country ORDER BY country NULLS LAST;

SELECT country, ARRAY_AGG(customer_id ORDER BY customer_id DESC) FROM customers GROUP BY country ORDER BY country NULLS LAST;

SELECT STDDEV(amount_usd), VAR_SAMP(amount_usd), STDDEV_POP(amount_usd) FROM invoices;

SELECT CORR(issuer_id, receiver_id) FROM invoices;

SELECT MEDIAN(CAST(amount_usd AS DOUBLE)) FROM invoices;

SELECT FIRST_VALUE(invoice_id ORDER BY amount_usd DESC, invoice_id) FROM invoices;
-- duckdb: SELECT FIRST(invoice_id ORDER BY amount_usd DESC, invoice_id) FROM invoices

SELECT issue_date_yearmonth, COUNT(*), SUM(amount_usd), AVG(amount_usd) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT SUM(total_amount_issued) - SUM(total_amount_received) FROM invoice_by_business;

SELECT SUM(issued_count), SUM(received_count), MAX(counterparties) FROM invoice_by_business;

SELECT business_id, SUM(total_amount_issued) FROM invoice_by_business WHERE business_id <> 5 GROUP BY 1 ORDER BY 1;

SELECT COUNT(*) FROM invoice_by_business WHERE business_id IS NULL;

SELECT SUM(total_amount_received) FROM invoice_by_business WHERE business_id IS NULL OR business_id = 7;

SELECT SUM(total_amount_received) FROM invoice_by_business WHERE NOT (business_id = 7);

SELECT months, as_of, COUNT(*), SUM(total_amount_issued) FROM business_last_n_months GROUP BY 1, 2;

SELECT CASE WHEN amount_usd < 0 THEN 'negative' WHEN amount_usd < 100 THEN 'small' ELSE 'large' END AS size, COUNT(*) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT k, COUNT(*), SUM(v) FROM parts GROUP BY k ORDER BY k NULLS FIRST;

SELECT COUNT(*) FROM parts WHERE k = '';

SELECT COUNT(*) FROM parts WHERE k <> 'a';

SELECT COUNT(*) FROM parts WHERE k IS NULL;

SELECT n FROM parts WHERE k = 'a%b';

SELECT n FROM parts WHERE k IN ('007', 'é') ORDER BY n;

SELECT n FROM parts WHERE k LIKE 'a%' ORDER BY n;

SELECT COUNT(*) FROM parts WHERE k = '' OR k IS NULL;

SELECT COUNT(*) FROM parts WHERE NOT (k = 'a');

SELECT COUNT(*) FROM parts WHERE COALESCE(k, 'a') = 'a';

SELECT COUNT(*) FROM parts WHERE k IS DISTINCT FROM 'a';

SELECT COUNT(*) FROM parts WHERE k NOT IN ('a', '7');

SELECT MAX(k), MIN(k) FROM parts WHERE k < 'b';

SELECT v FROM parts WHERE k = '7' AND n > 3;
