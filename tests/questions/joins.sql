-- The questions of issue 19 that were silently wrong come first.
SELECT COUNT(*) FROM customers c LEFT JOIN invoices i ON c.customer_id = i.issuer_id AND i.amount_usd > 9000;

SELECT c.customer_id FROM customers c LEFT JOIN invoices i ON c.customer_id = i.issuer_id AND i.amount_usd > 9000 WHERE i.invoice_id IS NULL ORDER BY 1;

SELECT COUNT(*) FROM invoices i RIGHT JOIN customers c ON c.customer_id = i.issuer_id AND i.amount_usd > 9000;

SELECT COUNT(*), COUNT(i.invoice_id), COUNT(c.customer_id) FROM invoices i FULL JOIN customers c ON c.customer_id = i.issuer_id AND i.amount_usd > 9000;

SELECT COUNT(*), COUNT(i.invoice_id) FROM customers c LEFT JOIN invoices i ON c.customer_id = i.issuer_id AND c.country = 'DE';

SELECT SUM(amount_usd) * 1.21 FROM invoices;

SELECT COUNT(*) FROM invoices i JOIN customers c ON i.issuer_id = c.customer_id;

SELECT COUNT(*) FROM invoices i JOIN customers c ON i.issuer_id = c.customer_id WHERE c.country IS NULL;

SELECT c.country, SUM(i.amount_usd) FROM invoices i JOIN customers c ON i.issuer_id = c.customer_id GROUP BY c.country ORDER BY 1 NULLS LAST;

SELECT COUNT(*) FROM customers c LEFT JOIN ratings r ON r.business_id = c.customer_id WHERE r.business_id IS NULL;

SELECT c.customer_id, r.rating.grade FROM customers c LEFT JOIN ratings r ON r.business_id = c.customer_id AND r.rating.score > 1 ORDER BY 1;

SELECT COUNT(*) FROM customers a JOIN customers b ON a.country = b.country AND a.customer_id < b.customer_id;

SELECT COUNT(*) FROM customers a JOIN customers b ON a.country IS NOT DISTINCT FROM b.country;

SELECT COUNT(*) FROM customers a CROSS JOIN ratings b;

SELECT COUNT(*) FROM customers a, ratings b WHERE a.customer_id = b.business_id;

SELECT COUNT(*) FROM customers a JOIN ratings b ON a.customer_id > b.business_id;

SELECT COUNT(*), COUNT(b.business_id) FROM customers a LEFT JOIN ratings b ON a.customer_id + 10 < b.business_id;

SELECT COUNT(*) FROM customers a FULL JOIN ratings b ON a.customer_id = b.business_id AND a.country = 'FR' AND b.rating.score > 0.5;

SELECT COUNT(*) FROM customers c WHERE EXISTS (SELECT 1 FROM invoices i WHERE i.issuer_id = c.customer_id);

SELECT COUNT(*) FROM customers c WHERE NOT EXISTS (SELECT 1 FROM invoices i WHERE i.issuer_id = c.customer_id AND i.amount_usd > 9000);

SELECT COUNT(*) FROM customers c LEFT SEMI JOIN ratings r ON r.business_id = c.customer_id;
-- duckdb: SELECT COUNT(*) FROM customers c SEMI JOIN ratings r ON r.business_id = c.customer_id

SELECT COUNT(*) FROM customers c LEFT ANTI JOIN ratings r ON r.business_id = c.customer_id;
-- duckdb: SELECT COUNT(*) FROM customers c ANTI JOIN ratings r ON r.business_id = c.customer_id

SELECT COUNT(*) FROM customers NATURAL JOIN (SELECT 3 AS customer_id) x;

SELECT customer_id, n FROM customers JOIN (SELECT issuer_id AS customer_id, COUNT(*) AS n FROM invoices GROUP BY 1) x USING (customer_id) ORDER BY 1;

SELECT COUNT(*) FROM customers LEFT JOIN (SELECT issuer_id AS customer_id FROM invoices WHERE amount_usd > 9999) x USING (customer_id);

SELECT a.invoice_id, b.invoice_id FROM invoices a JOIN invoices b ON a.receiver_id = b.issuer_id AND a.issuer_id = b.receiver_id AND a.amount_usd = b.amount_usd ORDER BY 1, 2;

SELECT c.customer_id, COUNT(i.invoice_id), COALESCE(SUM(i.amount_usd), 0) FROM customers c LEFT JOIN invoices i ON i.receiver_id = c.customer_id GROUP BY c.customer_id ORDER BY 1;

SELECT COUNT(*) FROM invoices i LEFT JOIN customers c ON c.customer_id = i.receiver_id AND i.receiver_id IS NULL;

SELECT COUNT(*), COUNT(c.customer_id) FROM invoices i LEFT JOIN customers c ON c.customer_id = i.receiver_id AND i.amount_usd < 0;

SELECT b.business_id, b.total_amount_issued FROM invoice_by_business b JOIN customers c ON b.business_id = c.customer_id WHERE b.issue_date_yearmonth = '2026-01-01' AND c.country = 'ZA' ORDER BY 1;

SELECT COUNT(*) FROM invoice_by_business b LEFT JOIN customers c ON c.customer_id = b.business_id WHERE c.customer_id IS NULL;

SELECT x.n, y.n FROM parts x LEFT JOIN parts y ON x.k = y.k AND y.n > 2 ORDER BY 1;

SELECT COUNT(*) FROM parts x JOIN parts y ON x.k = y.k;

SELECT c.customer_id, l.invoice_id FROM customers c CROSS JOIN LATERAL (SELECT invoice_id FROM invoices i WHERE i.issuer_id = c.customer_id) l WHERE c.customer_id < 3 ORDER BY 1, 2;

SELECT COUNT(*) FROM (SELECT * FROM customers WHERE country = 'DE') a FULL OUTER JOIN (SELECT * FROM customers WHERE credit_limit > 9000) b ON a.customer_id = b.customer_id;

SELECT a.customer_id, b.customer_id FROM customers a LEFT JOIN customers b ON a.customer_id = b.customer_id + 1 AND b.country = a.country WHERE a.customer_id < 9 ORDER BY 1, 2;

SELECT COUNT(*) FROM customers a LEFT JOIN customers b ON FALSE;

SELECT COUNT(*) FROM customers a LEFT JOIN customers b ON TRUE;
