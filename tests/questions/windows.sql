SELECT invoice_id, ROW_NUMBER() OVER (PARTITION BY issuer_id ORDER BY amount_usd DESC, invoice_id ASC) AS r FROM invoices ORDER BY 1;

SELECT customer_id, RANK() OVER (ORDER BY country NULLS LAST), DENSE_RANK() OVER (ORDER BY country NULLS LAST) FROM customers ORDER BY 1;

SELECT customer_id, LAG(customer_id) OVER (ORDER BY customer_id), LEAD(customer_id, 2, 0) OVER (ORDER BY customer_id) FROM customers ORDER BY 1;

SELECT invoice_id, SUM(amount_usd) OVER (ORDER BY invoice_id) FROM invoices WHERE issuer_id = 3 ORDER BY 1;

SELECT invoice_id, SUM(amount_usd) OVER (ORDER BY invoice_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM invoices WHERE issuer_id = 3 ORDER BY 1;

SELECT invoice_id, SUM(amount_usd) OVER (ORDER BY invoice_id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM invoices WHERE issuer_id = 4 ORDER BY 1;

SELECT invoice_id, SUM(amount_usd) OVER (PARTITION BY receiver_id ORDER BY invoice_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM invoices WHERE issuer_id = 4 ORDER BY 1;

SELECT invoice_id, AVG(amount_usd) OVER (ORDER BY invoice_id ROWS 3 PRECEDING) FROM invoices WHERE issuer_id = 5 ORDER BY 1;

SELECT invoice_id, COUNT(*) OVER (PARTITION BY issuer_id, issue_date_yearmonth) FROM invoices WHERE issuer_id < 4 ORDER BY 1;

SELECT invoice_id, MIN(amount_usd) OVER w, MAX(amount_usd) OVER w FROM invoices WHERE issuer_id = 6 WINDOW w AS (ORDER BY invoice_id ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING) ORDER BY 1;

SELECT customer_id, FIRST_VALUE(customer_id) OVER (PARTITION BY country ORDER BY customer_id), LAST_VALUE(customer_id) OVER (PARTITION BY country ORDER BY customer_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM customers ORDER BY 1;

SELECT customer_id, NTILE(4) OVER (ORDER BY customer_id) FROM customers ORDER BY 1;

SELECT customer_id, NTH_VALUE(customer_id, 2) OVER (PARTITION BY country ORDER BY customer_id) FROM customers ORDER BY 1;

SELECT customer_id, PERCENT_RANK() OVER (ORDER BY country NULLS LAST), CUME_DIST() OVER (ORDER BY country NULLS LAST) FROM customers ORDER BY 1;

SELECT issuer_id, invoice_id FROM (SELECT issuer_id, invoice_id, ROW_NUMBER() OVER (PARTITION BY issuer_id ORDER BY amount_usd DESC, invoice_id) AS r FROM invoices) t WHERE r <= 2 ORDER BY 1, 2;

SELECT issuer_id, invoice_id FROM invoices QUALIFY ROW_NUMBER() OVER (PARTITION BY issuer_id ORDER BY amount_usd DESC, invoice_id) = 1 ORDER BY 1;

SELECT issue_date_yearmonth, SUM(SUM(amount_usd)) OVER (ORDER BY issue_date_yearmonth) FROM invoices GROUP BY 1 ORDER BY 1;

SELECT issuer_id, SUM(amount_usd) AS s, RANK() OVER (ORDER BY SUM(amount_usd) DESC) FROM invoices GROUP BY issuer_id ORDER BY 1;

SELECT invoice_id, amount_usd - LAG(amount_usd, 1, 0.00) OVER (PARTITION BY issuer_id ORDER BY issue_date, invoice_id) FROM invoices WHERE issuer_id < 3 ORDER BY 1;

SELECT invoice_id, SUM(amount_usd) OVER (ORDER BY issue_date RANGE BETWEEN INTERVAL '7 days' PRECEDING AND CURRENT ROW) FROM invoices WHERE issuer_id = 7 ORDER BY 1;

SELECT customer_id, SUM(customer_id) OVER (ORDER BY customer_id RANGE BETWEEN 3 PRECEDING AND 1 FOLLOWING) FROM customers ORDER BY 1;

SELECT customer_id, COUNT(*) OVER (ORDER BY country NULLS LAST GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM customers ORDER BY 1;

SELECT invoice_id, 100 * amount_usd / SUM(amount_usd) OVER (PARTITION BY issuer_id) FROM invoices WHERE issuer_id = 8 ORDER BY 1;

SELECT customer_id, ROW_NUMBER() OVER (ORDER BY country DESC NULLS LAST, customer_id ASC), ROW_NUMBER() OVER (ORDER BY customer_id DESC) FROM customers ORDER BY 1;

SELECT COUNT(*) FILTER (WHERE r = 1) FROM (SELECT RANK() OVER (PARTITION BY receiver_id ORDER BY amount_usd) AS r FROM invoices) t;
